//! A number out of what a command printed or the application answered.

use serde_json::Value;

/// The number at `pointer` in a JSON document, or, without one, the number that the text is.
pub fn number(text: &str, pointer: Option<&str>) -> Result<f64, String> {
    let number = match pointer {
        None => text.trim().parse().map_err(|_| format!("\"{}\" is no number", start(text)))?,
        Some(pointer) => {
            let document: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
            let found = document.pointer(pointer).ok_or_else(|| format!("nothing at {pointer} in the document"))?;
            let given = match found {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            given.ok_or_else(|| format!("{} at {pointer} is no number", start(&found.to_string())))?
        }
    };
    if number.is_finite() { Ok(number) } else { Err(format!("{number} is no finite number")) }
}

/// As much as a line of a log shows.
fn start(text: &str) -> String {
    const SHOWN: usize = 40;
    let line: String = text.trim().chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().count() > SHOWN { line + "…" } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let document = r#"{"queue": 7, "pools": [{"busy": 0.5}, {"busy": "1.5e1"}], "a/b": -1}"#;
        let table = [
            (" 0.25\n", None, 0.25),
            ("1e3", None, 1_000.0),
            (document, Some("/queue"), 7.0),
            (document, Some("/pools/0/busy"), 0.5),
            (document, Some("/pools/1/busy"), 15.0),
            (document, Some("/a~1b"), -1.0),
            ("3", Some(""), 3.0),
        ];
        for (text, pointer, expected) in table {
            assert_eq!(number(text, pointer), Ok(expected), "{pointer:?}");
        }
    }

    #[test]
    fn what_is_none_is_named() {
        let long = "x".repeat(100);
        let table = [
            ("", None, "\"\" is no number"),
            ("busy", None, "\"busy\" is no number"),
            ("inf", None, "inf is no finite number"),
            (&*long, None, "xxx…\" is no number"),
            ("{", Some("/a"), "no JSON"),
            ("{}", Some("/a"), "nothing at /a"),
            (r#"{"a": [1]}"#, Some("/a"), "[1] at /a is no number"),
            (r#"{"a": null}"#, Some("/a"), "null at /a is no number"),
        ];
        for (text, pointer, message) in table {
            let error = number(text, pointer).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
