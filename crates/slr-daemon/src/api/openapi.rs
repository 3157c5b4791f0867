//! The OpenAPI document of a list of routes (OpenAPI 3.1, whose schemas are JSON Schema 2020-12).

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::Route;

/// Under this everything is.
pub const PREFIX: &str = "/api/v1/";

/// The document. `title` names the daemon.
pub fn document(title: &str, version: &str, routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let paths: Map<String, Value> =
        routes.iter().map(|route| (format!("{PREFIX}{}", route.name), path(route, &mut schemas))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Reads what the daemon shows. Nothing can be changed here.",
        },
        "paths": paths,
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn path(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let parameters: Vec<Value> = route
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": "query",
                "required": parameter.is_required,
                "description": parameter.what,
                "schema": { "type": "string" },
            })
        })
        .collect();
    let error = json!({
        "description": "What is wrong, and what to do about it",
        "content": { "application/json": { "schema": {
            "type": "object", "properties": { "error": { "type": "string" } }, "required": ["error"],
        } } },
    });
    json!({ "get": {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "The answer", "content": { "application/json": { "schema": (route.answer)(schemas) } } },
            "400": error,
            "503": error,
        },
    } })
}
