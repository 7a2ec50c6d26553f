//! The API's document, and whether what is sent and answered is as it says.

use std::cell::RefCell;
use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The schema of OpenAPI 3.1 documents, from spec.openapis.org.
const OPENAPI: &str = include_str!("../schemas/openapi-3.1.json");
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An OpenAPI document whose objects may have no fields but those it names.
pub struct Document {
    root: Value,
    /// What was answered so far: `get /v1/vms 200`.
    seen: RefCell<BTreeSet<String>>,
}

impl Document {
    /// Takes a document that is what it should be.
    pub fn new(mut root: Value) -> Self {
        check(&root);
        for schema in root["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            close_inside(schema);
        }
        Self { root, seen: RefCell::default() }
    }

    /// Fails if a body is not what the document says that a request takes.
    pub fn check_request(&self, method: &str, target: &str, body: &Value) {
        let (path, operation) = self.operation(method, target);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        self.conforms(&format!("the body of {method} {path}"), schema, body);
    }

    /// The schema of a reply's content; fails if there is no such reply.
    pub fn reply(&self, method: &str, target: &str, status: u16, content: Option<&str>) -> Value {
        let (path, operation) = self.operation(method, target);
        let said = format!("{method} {path} {status}");
        let reply = &operation["responses"][status.to_string()];
        assert!(reply.is_object(), "{said} is not described");
        let reply = self.resolved(reply);
        let types = reply["content"].as_object();
        let types: Vec<_> = types.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        assert_eq!(types, content.into_iter().collect::<Vec<_>>(), "the content of {said}");
        self.seen.borrow_mut().insert(said);
        content.map_or(Value::Null, |content| reply["content"][content]["schema"].clone())
    }

    /// Fails if a value is not what a schema says.
    pub fn conforms(&self, what: &str, schema: &Value, value: &Value) {
        assert!(schema.is_object(), "{what} is not described");
        let errors = self.differences(schema, value).join("\n");
        assert!(errors.is_empty(), "{what} is not as described:\n{errors}\n{value:#}");
    }

    fn differences(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut schema = schema.clone();
        close(&mut schema);
        schema["components"] = self.root["components"].clone();
        let validator = validator(&schema);
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }

    /// The requests of the document that were not seen to succeed.
    pub fn unseen(&self) -> Vec<String> {
        let seen = self.seen.borrow();
        let succeeded = |said: &str| seen.iter().any(|s| s.starts_with(&format!("{said} 2")));
        let mut all: Vec<_> = operations(&self.root).map(|(said, _)| said).collect();
        all.retain(|said| !succeeded(said));
        all
    }

    fn operation(&self, method: &str, target: &str) -> (&str, &Value) {
        let segments: Vec<_> = target.split('?').next().unwrap().split('/').collect();
        let paths = self.root["paths"].as_object().unwrap();
        let fits = |path: &str| {
            let parts: Vec<_> = path.split('/').collect();
            let mut pairs = parts.iter().zip(&segments);
            parts.len() == segments.len() && pairs.all(|(p, s)| p.starts_with('{') || p == s)
        };
        let (path, item) = paths.iter().find(|(path, _)| fits(path)).unwrap();
        assert!(item[method].is_object(), "{method} {path} is not described");
        (path, &item[method])
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"].as_str().map_or(value, |to| self.root.pointer(&to[1..]).unwrap())
    }
}

/// Fails if it is no OpenAPI 3.1 document, or refers to what is not there.
fn check(root: &Value) {
    let version = root["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    let errors: Vec<_> = validator(&serde_json::from_str(OPENAPI).unwrap())
        .iter_errors(root)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "not an OpenAPI document:\n{}", errors.join("\n"));
    for (name, schema) in root["components"]["schemas"].as_object().unwrap() {
        let valid = jsonschema::draft202012::meta::validate(schema);
        assert!(valid.is_ok(), "{name} is no schema: {valid:?}");
    }
    each(root, &mut |value| {
        if let Some(to) = value["$ref"].as_str() {
            let found = to.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            assert!(found.is_some(), "{to} is not there");
        }
    });
    let mut ids = BTreeSet::new();
    for (said, operation) in operations(root) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{said}: there are two {id}");
        let path = said.split(' ').nth(1).unwrap();
        let named = |name: &str| {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            parameters.filter(|p| p["in"] == "path").any(|p| p["name"] == name)
        };
        for name in path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
            assert!(named(name), "{said}: {name} is not described");
        }
    }
}

/// Each operation by what is asked: `get /v1/vms`.
fn operations(root: &Value) -> impl Iterator<Item = (String, &Value)> {
    root["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let methods = METHODS.iter().filter(|method| item[**method].is_object());
        methods.map(move |method| (format!("{method} {path}"), &item[*method]))
    })
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|e| panic!("{e}"))
}

fn each(value: &Value, f: &mut impl FnMut(&Value)) {
    f(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| each(value, f)),
        Value::Array(list) => list.iter().for_each(|value| each(value, f)),
        _ => {}
    }
}

/// Makes a schema refuse fields that neither it nor what it is made of names.
/// It goes where a value is described, not into each of several parts of it.
fn close(schema: &mut Value) {
    let any = schema["type"] == "object" && schema["properties"].is_null();
    close_inside(schema);
    if !any {
        schema["unevaluatedProperties"] = json!(false);
    }
}

fn close_inside(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    for part in ["oneOf", "anyOf", "allOf"] {
        let parts = schema.get_mut(part).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(close_inside);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(|map| map.values_mut()).for_each(close);
    schema.get_mut("items").into_iter().for_each(close);
}

#[test]
fn the_documents_test_is_worth_something() {
    let described = include_str!("../../docs/openapi.json");
    let document = Document::new(serde_json::from_str(described).unwrap());
    let fails = |schema: &str, value: Value| {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        !document.differences(&schema, &value).is_empty()
    };
    assert!(!fails("VmState", json!({"state": "running"})));
    assert!(!fails("VmState", json!({"state": "stopped", "cause": "crashed", "detail": "x"})));
    assert!(!fails("VmState", json!({"state": "failed", "cause": "x", "removing": true})));
    assert!(fails("VmState", json!({"state": "stopped"})));
    assert!(fails("VmState", json!({"state": "running", "cause": "new"})));
    assert!(fails("VmState", json!({"state": "stopped", "cause": "crashed"})));
    let event = |more: Value| {
        let mut event = json!({"seq": 1, "at_ms": 1});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let id = "0123456789abcdef";
    assert!(!fails("Event", event(json!({"event": "finished", "result": "cancelled"}))));
    assert!(!fails(
        "Event",
        event(json!({"event": "state_changed", "vm": id, "state": "running"}))
    ));
    assert!(fails(
        "Event",
        event(json!({"event": "state_changed", "vm": "x", "state": "running"}))
    ));
    assert!(fails("Event", event(json!({"event": "finished"}))));
    assert!(fails("Event", event(json!({"event": "log", "line": "x", "more": 1}))));
    assert!(fails("Secrets", json!({"opencode_password": "x", "root_password": "x"})));
}
