//! An OpenAPI description, or one of Swagger 2, in JSON: its paths and their methods.

use reqwest::Url;
use serde_json::Value;

use super::rule::Rule;

const METHODS: [&str; 7] = ["get", "head", "options", "post", "put", "patch", "delete"];

/// The rules of a description; the error is the end of a sentence.
pub(super) fn read(text: &str) -> Result<Vec<Rule>, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let paths = document.get("paths").and_then(Value::as_object).ok_or("has no paths")?;
    let prefix = prefix(&document);
    let rules = paths.iter().flat_map(|(path, item)| {
        let path = format!("{prefix}{path}");
        let methods = METHODS.into_iter().filter(|method| item.get(method).is_some());
        methods.filter_map(|method| rule(&document, &path, item, method)).collect::<Vec<_>>()
    });
    Ok(rules.collect())
}

fn rule(document: &Value, path: &str, item: &Value, method: &str) -> Option<Rule> {
    let of = |value: &Value| value.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let parameters = [of(item), of(&item[method])].concat();
    let needed = |parameter: &Value| {
        let named = parameter["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        let parameter = named.and_then(|pointer| document.pointer(pointer)).unwrap_or(parameter);
        parameter["required"] == true && parameter["in"] == "query"
    };
    let needs_query = parameters.iter().any(needed);
    Some(Rule { needs_query, ..Rule::read(path, &[method])? })
}

/// What stands before all paths: `servers` of OpenAPI, `basePath` of Swagger.
fn prefix(document: &Value) -> String {
    let server = document["servers"][0]["url"].as_str().unwrap_or_default();
    let path = match (document["basePath"].as_str(), Url::parse(server)) {
        (Some(path), _) => path.to_owned(),
        (None, Ok(url)) => url.path().to_owned(),
        (None, Err(_)) => server.to_owned(),
    };
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_their_methods_and_needs() {
        let text = r##"{"servers": [{"url": "/api/v1/"}], "components": {"parameters": {"Q": {"in": "query", "required": true}}},
            "paths": {"/items": {"get": {}, "post": {}}, "/items/{id}": {"get": {"parameters": [{"in": "path", "required": true}]}},
            "/search": {"parameters": [{"$ref": "#/components/parameters/Q"}], "get": {}}}}"##;
        let rules = read(text).unwrap();
        let told: Vec<_> = rules
            .iter()
            .map(|rule| (rule.text.as_str(), rule.methods[0].as_str(), rule.is_plain()))
            .collect();
        assert_eq!(
            told,
            [
                ("/api/v1/items", "GET", true),
                ("/api/v1/items", "POST", true),
                ("/api/v1/items/<id>", "GET", false),
                ("/api/v1/search", "GET", false),
            ]
        );
        assert_eq!(read(r#"{"basePath": "/v2", "paths": {"/a": {"get": {}}}}"#).unwrap()[0].text, "/v2/a");
        assert!(read("<html>").unwrap_err().starts_with("is not JSON"));
        assert!(read("{}").is_err());
    }
}
