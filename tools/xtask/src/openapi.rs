//! Answers of an API against its own OpenAPI document.

use serde_json::Value;

/// What is wrong with the answer to a GET of `path`, by the document; nothing: it is as documented.
pub fn problems(document: &Value, path: &str, answer: &Value) -> Vec<String> {
    let mut schema =
        document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone();
    if !schema.is_object() {
        return vec![format!("{path} has no schema")];
    }
    // Where the schema's references lead to.
    schema["components"] = document["components"].clone();
    match jsonschema::validator_for(&schema) {
        Ok(validator) => validator.iter_errors(answer).map(|error| format!("{path}: {error}")).collect(),
        Err(error) => vec![format!("{path}: {error}")],
    }
}
