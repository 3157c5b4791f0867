//! What there is to read.

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// Something to read under `/api/v1/`.
#[derive(Clone, Copy)]
pub struct Route {
    /// Its name, which follows the prefix.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// What may stand in the query; anything else is refused.
    pub parameters: &'static [Parameter],
    /// The request of the admin socket.
    pub request: fn(&Query) -> Result<Value, String>,
    /// What the answer is made of.
    pub answer: Answer,
}

/// Gives the schema of an answer.
pub type Answer = fn(&mut SchemaGenerator) -> Schema;

impl Route {
    /// One without parameters. `T` is the answer.
    pub const fn plain<T: JsonSchema>(
        name: &'static str,
        summary: &'static str,
        request: fn(&Query) -> Result<Value, String>,
    ) -> Self {
        Self { name, summary, parameters: &[], request, answer: |schemas| schemas.subschema_for::<T>() }
    }
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it says, with its form.
    pub what: &'static str,
    /// Whether it must be there.
    pub is_required: bool,
}

/// What stands in a query.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads `a=b&c=d`, with percent encoding; refuses what the route has no parameter for, or twice.
    pub fn parse(text: &str, parameters: &[Parameter]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !parameters.iter().any(|parameter| parameter.name == name) {
                let names: Vec<_> = parameters.iter().map(|parameter| parameter.name).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(format!("there is no parameter {name:?} here; there are: {names}"));
            }
            if values.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(format!("the parameter {name:?} is given twice"));
            }
        }
        match parameters.iter().find(|parameter| parameter.is_required && !values.contains_key(parameter.name)) {
            Some(missing) => Err(format!("the parameter {:?} is missing: {}", missing.name, missing.what)),
            None => Ok(Self(values)),
        }
    }

    /// The value of a parameter, if it is there.
    pub fn get<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.0.get(name).map(|text| text.parse().map_err(|error| format!("{name}={text}: {error}")));
        value.transpose()
    }

    /// The value of one that must be there, by the route's parameters.
    pub fn required<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("the parameter {name:?} is missing"))
    }
}

/// A file that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Where, with the slash.
    pub path: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// What it holds.
    pub body: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Parameter = Parameter { name: "port", what: "a number", is_required: true };
    const NAME: Parameter = Parameter { name: "name", what: "a word", is_required: false };

    #[test]
    fn what_is_asked_is_read_whole_or_refused() {
        let query = Query::parse("port=80&name=a%20b", &[PORT, NAME]).unwrap();
        assert_eq!((query.required("port"), query.get("name")), (Ok(80_u16), Ok(Some("a b".to_owned()))));
        for (text, why) in [
            ("port=80&prot=tcp", "there is no parameter \"prot\" here; there are: port, name"),
            ("port=80&port=81", "given twice"),
            ("name=x", "the parameter \"port\" is missing: a number"),
        ] {
            let refused = Query::parse(text, &[PORT, NAME]).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        let wrong = Query::parse("port=x", &[PORT]).unwrap().required::<u16>("port").unwrap_err();
        assert!(wrong.starts_with("port=x: "), "{wrong}");
        assert!(Query::parse("x=1", &[]).unwrap_err().ends_with("there are: none"));
    }
}
