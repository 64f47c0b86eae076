//! The contract for JavaScript: its types for TypeScript with their documentation, and the table by which values are converted. Both are written
//! from `wit/policy.wit`, and committed.

use std::fmt::Write as _;

use crate::wit::{Case, Contract, Field, Function, Named, Shape, Type};

/// Which of the contract's names mean something else in JavaScript: the class for errors in a policy is `PolicyError`.
const NAMES: [(&str, &str); 1] = [("policy-error", "PolicyProblem")];

/// Fields that a caller may leave out, with what stands for them: as `Connection::new` of the module has it.
const DEFAULTS: [(&str, &str, &str); 13] = [
    ("connection", "listener", "'mx'"),
    ("connection", "tls", "'none'"),
    ("connection", "authenticated", "false"),
    ("connection", "listener-offers", "false"),
    ("connection", "keyword-shown", "false"),
    ("connection", "acknowledged", "false"),
    ("connection", "reachable-over-ipv4", "true"),
    ("connection", "ipv4-arrivals-visible", "false"),
    ("connection", "now", "0"),
    ("connection", "nonce", "0"),
    ("connection", "records", "[]"),
    ("dkim", "selector", "''"),
    ("dkim", "testing", "false"),
];

/// Fields that hold JSON as a text: JavaScript gets the value.
const JSON_FIELDS: [(&str, &str); 1] = [("description", "defaults")];

/// Functions whose result is JSON as a text.
const JSON_RESULTS: [&str; 2] = ["schema", "inspect"];

/// Functions whose one record stands for its fields, as bindings/json has it.
const SPREAD: [&str; 1] = ["inspect"];

/// An address crosses the border as text.
const ADDRESS: &str = "address";
const ADDRESS_WORDS: &str =
    "An IP address as text, such as `2001:db8::25` or `192.0.2.25`; whatever `parseAddress` reads will do.";

/// The first lines of both files.
fn written(contract: &Contract) -> String {
    format!("// Written from wit/policy.wit, version {}, by `cargo xtask npm`.\n", contract.version)
}

/// Functions that a policy has as methods, with the arguments that may be missing.
const METHODS: [&str; 3] = ["keys", "decide", "explain"];

/// The types, for TypeScript.
pub(super) fn declarations(contract: &Contract) -> String {
    let answers = Answers::of(contract);
    let mut text = written(contract);
    for named in &contract.types {
        let (name, answer) = (pascal(&named.name), answers.only(&named.name));
        let (words, declaration) = match &named.shape {
            _ if named.name == ADDRESS => (ADDRESS_WORDS, "export type Address = string;".to_owned()),
            Shape::Record(fields) => {
                let fields: String = fields.iter().map(|field| declared(named, field, answer)).collect();
                (named.docs.as_str(), format!("export interface {name} {{\n{fields}}}"))
            }
            Shape::Enum(cases) | Shape::Variant(cases) => {
                let case = |case: &Case| format!("\n{}  | {}", docs(&case.docs, "  "), alternative(case, answer));
                (named.docs.as_str(), format!("export type {name} ={};", cases.iter().map(case).collect::<String>()))
            }
        };
        let _ = write!(text, "\n{}{declaration}\n", docs(words, ""));
    }
    let methods = contract.functions.iter().filter(|function| METHODS.contains(&function.name.as_str()));
    let methods: Vec<String> = methods.map(method).collect();
    let _ = write!(text, "\n/** What a policy is asked. */\nexport interface Deciding {{\n{}}}\n", methods.join("\n"));
    text
}

/// A function as a method of `Policy`: what is not known yet may be missing.
fn method(function: &Function) -> String {
    let parameter = |(name, ty): &(String, Type)| {
        let optional = if matches!(ty, Type::Option(_)) { "?" } else { "" };
        format!("{}{optional}: {}", camel(name), script(ty, false))
    };
    let parameters: Vec<String> = function.parameters.iter().map(parameter).collect();
    let result = script(&function.result, true);
    format!("{}  {}({}): {result};\n", docs(&function.docs, "  "), camel(&function.name), parameters.join(", "))
}

/// A field as a caller or an answer has it.
fn declared(record: &Named, field: &Field, answer: bool) -> String {
    let default = default(&record.name, &field.name).filter(|_| !answer);
    let (optional, ty) = match (&field.ty, default) {
        (Type::Option(inner), _) => (!answer, format!("{} | null", script(inner, answer))),
        (ty, Some(_)) => (true, format!("{} | null", script(ty, answer))),
        (ty, None) => (false, script(ty, answer)),
    };
    let ty = if JSON_FIELDS.contains(&(record.name.as_str(), &field.name)) { "Record<string, unknown>".to_owned() } else { ty };
    let said = default.map(|value| format!("By default {value}.")).unwrap_or_default();
    let words = [field.docs.as_str(), &said].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
    format!("{}  {}{}: {ty};\n", docs(&words, "  "), camel(&field.name), if optional { "?" } else { "" })
}

fn alternative(case: &Case, answer: bool) -> String {
    match &case.value {
        None => format!("'{}'", case.name),
        Some(ty) => format!("{{ {}: {} }}", case.name, script(ty, answer)),
    }
}

/// A type in TypeScript. What a caller hands over may be a bit more than what an answer holds.
fn script(ty: &Type, answer: bool) -> String {
    match ty {
        Type::Bool => "boolean".to_owned(),
        Type::Integer(_) => "number".to_owned(),
        Type::Text => "string".to_owned(),
        Type::Octets if answer => "Uint8Array".to_owned(),
        Type::Octets => "Uint8Array | readonly number[]".to_owned(),
        Type::Named(name) => pascal(name),
        Type::List(item) if answer => format!("{}[]", script(item, answer)),
        Type::List(item) => format!("readonly {}[]", script(item, answer)),
        Type::Option(inner) => format!("{} | null", script(inner, answer)),
        Type::Result(ok, _) => script(ok, answer),
    }
}

/// Which types only answers hold, and no arguments: their options are always there, as values or null.
struct Answers(Vec<String>);

impl Answers {
    fn of(contract: &Contract) -> Self {
        let mut arguments = Vec::new();
        for (_, ty) in contract.functions.iter().flat_map(|function| &function.parameters) {
            reach(contract, ty, &mut arguments);
        }
        Answers(contract.types.iter().map(|named| named.name.clone()).filter(|name| !arguments.contains(name)).collect())
    }

    fn only(&self, name: &str) -> bool {
        self.0.iter().any(|each| each == name)
    }
}

/// Adds the names of all types that one of this type can hold.
fn reach(contract: &Contract, ty: &Type, names: &mut Vec<String>) {
    match ty {
        Type::Named(name) if !names.contains(name) => {
            names.push(name.clone());
            let shape = contract.types.iter().find(|named| named.name == *name).map(|named| &named.shape);
            match shape {
                Some(Shape::Record(fields)) => fields.iter().for_each(|field| reach(contract, &field.ty, names)),
                Some(Shape::Variant(cases)) => {
                    cases.iter().flat_map(|case| &case.value).for_each(|ty| reach(contract, ty, names))
                }
                _ => {}
            }
        }
        Type::List(inner) | Type::Option(inner) => reach(contract, inner, names),
        Type::Result(ok, err) => [ok, err].into_iter().for_each(|ty| reach(contract, ty, names)),
        _ => {}
    }
}

/// The table that `convert.js` works by.
pub(super) fn table(contract: &Contract) -> String {
    let mut text = format!(
        "{}// `in` is a name as it stands in JSON, `otherwise` what stands for a value that a caller leaves out.\n\nexport const TYPES = {{\n",
        written(contract)
    );
    for named in contract.types.iter().filter(|named| named.name != ADDRESS) {
        let shape = match &named.shape {
            Shape::Enum(cases) => {
                format!("enum: [{}]", cases.iter().map(|case| format!("'{}'", case.name)).collect::<Vec<_>>().join(", "))
            }
            Shape::Variant(cases) => {
                let case = |case: &Case| {
                    let value = case.value.as_ref().map_or("null".to_owned(), |ty| format!("'{}'", wit(ty)));
                    format!("'{}': {value}", case.name)
                };
                format!("variant: {{ {} }}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
            }
            Shape::Record(fields) => format!("record: {{\n{}    }}", rows(&named.name, fields, "      ")),
        };
        let _ = writeln!(text, "  '{}': {{\n    {shape},\n  }},", named.name);
    }
    text.push_str("};\n\nexport const FUNCTIONS = {\n");
    for function in &contract.functions {
        text.push_str(&called(contract, function));
    }
    text.push_str("};\n");
    text
}

/// A function of the table.
fn called(contract: &Contract, function: &Function) -> String {
    let spread = SPREAD.contains(&function.name.as_str());
    let shape = function.parameters.first().and_then(|(_, ty)| match ty {
        Type::Named(name) => contract.types.iter().find(|named| named.name == *name).map(|named| &named.shape),
        _ => None,
    });
    let parameters = match shape {
        Some(Shape::Record(fields)) if spread => rows("", fields, "      "),
        _ => function.parameters.iter().map(|(name, ty)| row("", name, ty, "      ")).collect(),
    };
    let parameters = if parameters.is_empty() { "{}".to_owned() } else { format!("{{\n{parameters}    }}") };
    let result = if JSON_RESULTS.contains(&function.name.as_str()) { "json".to_owned() } else { wit(&function.result) };
    format!(
        "  {}: {{\n    in: '{}',\n    parameters: {parameters},\n    result: '{result}',\n  }},\n",
        camel(&function.name),
        function.name
    )
}

fn rows(record: &str, fields: &[Field], indent: &str) -> String {
    fields.iter().map(|field| row(record, &field.name, &field.ty, indent)).collect()
}

fn row(record: &str, name: &str, ty: &Type, indent: &str) -> String {
    let ty = if JSON_FIELDS.contains(&(record, name)) { "json".to_owned() } else { wit(ty) };
    let otherwise = default(record, name).map(|value| format!(", otherwise: {value}")).unwrap_or_default();
    format!("{indent}{}: {{ in: '{name}', type: '{ty}'{otherwise} }},\n", camel(name))
}

/// A type as the contract writes it, without spaces.
fn wit(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Integer(bits) => format!("u{bits}"),
        Type::Text => "string".to_owned(),
        Type::Octets => "list<u8>".to_owned(),
        Type::Named(name) => name.clone(),
        Type::List(item) => format!("list<{}>", wit(item)),
        Type::Option(inner) => format!("option<{}>", wit(inner)),
        Type::Result(ok, err) => format!("result<{},{}>", wit(ok), wit(err)),
    }
}

fn default(record: &str, field: &str) -> Option<&'static str> {
    DEFAULTS.iter().find(|(of, name, _)| (*of, *name) == (record, field)).map(|(_, _, value)| *value)
}

/// Markdown as a comment.
fn docs(docs: &str, indent: &str) -> String {
    let lines: Vec<&str> = docs.lines().collect();
    match lines.as_slice() {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let lines: String = lines.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n").collect();
            format!("{indent}/**\n{lines}{indent} */\n")
        }
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| text + &capital(word))
}

fn pascal(name: &str) -> String {
    let other = NAMES.iter().find(|(of, _)| *of == name).map(|(_, name)| (*name).to_owned());
    other.unwrap_or_else(|| name.split('-').map(capital).collect())
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::place::Place;
    use crate::wit;

    fn contract() -> Contract {
        wit::read(&Place::here().expect("cargo runs the tests")).expect("the contract")
    }

    #[test]
    fn what_is_committed_is_current() {
        let place = Place::here().expect("cargo runs the tests");
        for (name, current) in super::super::npm::written(&contract()) {
            let file = place.checkout.join(&name);
            let committed = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                committed == current,
                "{name} is not what wit/policy.wit says: run `cargo xtask npm`, which writes it, and commit it"
            );
        }
    }

    #[test]
    fn what_callers_hand_over_may_be_missing_and_what_answers_hold_may_not() {
        let text = declarations(&contract());
        let has = |part: &str| assert!(text.contains(part), "{part} is not in\n{text}");
        has("  /** The argument of the last EHLO or HELO; absent before it. */\n  ehloName?: string | null;\n");
        has("  listener?: Listener | null;\n");
        has("  now?: number | null;\n");
        has("export interface StoredRecord {\n  key: Key;\n  value: Uint8Array | readonly number[];\n}");
        has("export interface RecordUpdate {\n  key: Key;\n  value: Uint8Array;\n");
        has("  would: Verdict | null;\n");
        has("  | { refuse: Reply };\n");
        has("  spfMailFrom?: Spf | null;\n");
        has("export interface PolicyProblem {\n");
        has("  defaults: Record<string, unknown>;\n");
        has("  | 'end-of-data';\n");
        has("  keys(connection: Connection, envelope?: Envelope | null, message?: Message | null): Key[];\n");
    }

    #[test]
    fn every_default_is_that_of_a_field() {
        let contract = contract();
        for (record, name) in
            DEFAULTS.iter().map(|(record, name, _)| (record, name)).chain(JSON_FIELDS.iter().map(|(a, b)| (a, b)))
        {
            let named = contract.types.iter().find(|named| named.name == *record).expect("a type of the contract");
            let Shape::Record(fields) = &named.shape else { panic!("{record} is no record") };
            assert!(fields.iter().any(|field| field.name == *name), "{record} has no field {name}");
        }
        for name in JSON_RESULTS.iter().chain(&SPREAD) {
            assert!(contract.functions.iter().any(|function| function.name == *name), "{name}");
        }
    }

    #[test]
    fn the_table_has_both_names_of_each_field() {
        let text = table(&contract());
        let has = |part: &str| assert!(text.contains(part), "{part} is not in\n{text}");
        has("      reachableOverIpv4: { in: 'reachable-over-ipv4', type: 'bool', otherwise: true },\n");
        has("      ehloName: { in: 'ehlo-name', type: 'option<string>' },\n");
        has("    variant: { 'none': null, 'encrypted': null, 'verified': 'list<string>' },\n");
        has(
            "  inspect: {\n    in: 'inspect',\n    parameters: {\n      key: { in: 'key', type: 'key' },\n      value: { in: 'value', type: 'list<u8>' },\n",
        );
        has("  schema: {\n    in: 'schema',\n    parameters: {},\n    result: 'json',\n");
        has("    result: 'result<summary,list<policy-error>>',\n");
    }

    #[test]
    fn names_and_words() {
        assert_eq!(
            (camel("reachable-over-ipv4"), pascal("end-of-data")),
            ("reachableOverIpv4".to_owned(), "EndOfData".to_owned())
        );
        assert_eq!(pascal("policy-error"), "PolicyProblem");
        assert_eq!(docs("", "  "), "");
        assert_eq!(docs("One.", "  "), "  /** One. */\n");
        assert_eq!(docs("One.\n\nTwo.", " "), " /**\n  * One.\n  *\n  * Two.\n  */\n");
    }
}
