//! The contract as data, read from `wit/`: what the types of other languages are written from, with their documentation.

use std::fs;

use wit_parser::{Docs, Resolve, Type as WitType, TypeDefKind};

use crate::Failure;
use crate::place::Place;

/// Its types and functions, in the order of the file.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) version: String,
    pub(crate) types: Vec<Named>,
    pub(crate) functions: Vec<Function>,
}

/// A type with a name. Names are in kebab-case throughout, as in the file.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// Markdown, lines as in the file; empty where nothing is said.
    pub(crate) docs: String,
    pub(crate) shape: Shape,
}

/// What a named type is.
#[derive(Debug)]
pub(crate) enum Shape {
    Record(Vec<Field>),
    /// Cases without values.
    Enum(Vec<Case>),
    /// Cases, some with a value.
    Variant(Vec<Case>),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) ty: Type,
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) value: Option<Type>,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) parameters: Vec<(String, Type)>,
    pub(crate) result: Type,
}

/// A type where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// Unsigned, of so many bits.
    Integer(u8),
    Text,
    /// `list<u8>`
    Octets,
    Named(String),
    List(Box<Type>),
    Option(Box<Type>),
    Result(Box<Type>, Box<Type>),
}

/// Reads `wit/policy.wit`.
pub(crate) fn read(place: &Place) -> Result<Contract, Failure> {
    let file = place.checkout.join("wit/policy.wit");
    let text = fs::read_to_string(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse(text: &str) -> Result<Contract, Failure> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", text).map_err(|error| format!("{error:#}"))?;
    let name = &resolve.packages[package].name;
    let version = name.version.as_ref().ok_or("the package has no version")?.to_string();
    let interface = resolve.packages[package].interfaces.get("policy").ok_or("there is no interface `policy`")?;
    let interface = &resolve.interfaces[*interface];
    let types = interface.types.iter().map(|(name, id)| {
        let definition = &resolve.types[*id];
        Ok(Named { name: name.clone(), docs: docs(&definition.docs), shape: shape(&resolve, &definition.kind)? })
    });
    let functions = interface.functions.values().map(|function| {
        let parameters = function.params.iter().map(|each| Ok((each.name.clone(), ty(&resolve, &each.ty)?)));
        let result = function.result.as_ref().ok_or_else(|| format!("`{}` has no result", function.name))?;
        Ok(Function {
            name: function.name.clone(),
            docs: docs(&function.docs),
            parameters: parameters.collect::<Result<_, Failure>>()?,
            result: ty(&resolve, result)?,
        })
    });
    Ok(Contract { version, types: types.collect::<Result<_, Failure>>()?, functions: functions.collect::<Result<_, Failure>>()? })
}

fn shape(resolve: &Resolve, kind: &TypeDefKind) -> Result<Shape, Failure> {
    Ok(match kind {
        TypeDefKind::Record(record) => {
            let fields = record
                .fields
                .iter()
                .map(|field| Ok(Field { name: field.name.clone(), docs: docs(&field.docs), ty: ty(resolve, &field.ty)? }));
            Shape::Record(fields.collect::<Result<_, Failure>>()?)
        }
        TypeDefKind::Enum(cases) => {
            let case = |case: &wit_parser::EnumCase| Case { name: case.name.clone(), docs: docs(&case.docs), value: None };
            Shape::Enum(cases.cases.iter().map(case).collect())
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| {
                let value = case.ty.as_ref().map(|value| ty(resolve, value)).transpose()?;
                Ok(Case { name: case.name.clone(), docs: docs(&case.docs), value })
            });
            Shape::Variant(cases.collect::<Result<_, Failure>>()?)
        }
        other => {
            return Err(format!("{} is no kind of type that this program knows; add it to xtask/src/wit.rs", other.as_str()));
        }
    })
}

fn ty(resolve: &Resolve, wit: &WitType) -> Result<Type, Failure> {
    Ok(match wit {
        WitType::Bool => Type::Bool,
        WitType::U8 => Type::Integer(8),
        WitType::U16 => Type::Integer(16),
        WitType::U32 => Type::Integer(32),
        WitType::U64 => Type::Integer(64),
        WitType::String => Type::Text,
        WitType::Id(id) => {
            let definition = &resolve.types[*id];
            if let Some(name) = &definition.name {
                return Ok(Type::Named(name.clone()));
            }
            let boxed = |wit: &WitType| ty(resolve, wit).map(Box::new);
            match &definition.kind {
                TypeDefKind::List(WitType::U8) => Type::Octets,
                TypeDefKind::List(item) => Type::List(boxed(item)?),
                TypeDefKind::Option(value) => Type::Option(boxed(value)?),
                TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                    (Some(ok), Some(err)) => Type::Result(boxed(ok)?, boxed(err)?),
                    _ => return Err("a result without a value is not known to xtask/src/wit.rs".to_owned()),
                },
                other => return Err(format!("{} is not known to xtask/src/wit.rs", other.as_str())),
            }
        }
        other => return Err(format!("{other:?} is not known to xtask/src/wit.rs")),
    })
}

/// Without the file's headings, which the parser takes for words about what follows them.
fn docs(docs: &Docs) -> String {
    let lines = docs.contents.as_deref().unwrap_or_default().lines().filter(|line| !line.starts_with("----"));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_read_with_its_words() {
        let contract = parse(include_str!("../../wit/policy.wit")).expect("the contract");
        assert_eq!(contract.version, "0.1.0");
        let named = |name: &str| contract.types.iter().find(|each| each.name == name).expect("a type of the contract");
        let Shape::Record(fields) = &named("connection").shape else { panic!("a record") };
        let field = fields.iter().find(|field| field.name == "ehlo-name").expect("a field");
        assert_eq!(field.ty, Type::Option(Box::new(Type::Text)));
        assert_eq!(field.docs, "The argument of the last EHLO or HELO; absent before it.");
        assert!(matches!(&named("verdict").shape, Shape::Variant(cases) if cases[2].value == Some(Type::Named("reply".into()))));
        assert!(named("stage").docs.starts_with("How far the session has come"), "{}", named("stage").docs);
        let configure = &contract.functions[0];
        assert_eq!((configure.name.as_str(), &configure.parameters[1].1), ("configure", &Type::Octets));
        assert!(matches!(&configure.result, Type::Result(ok, _) if **ok == Type::Named("summary".into())));
    }

    #[test]
    fn what_no_language_has_a_form_for_is_refused() {
        let with = |ty: &str| parse(&format!("package a:b@1.0.0;\ninterface policy {{ f: func() -> {ty}; }}\n"));
        assert!(with("list<u8>").is_ok());
        assert!(with("float32").is_err() && with("f32").is_err() && with("tuple<u8, u8>").is_err());
        assert!(parse("package a:b;\ninterface policy {}\n").expect_err("must fail").contains("no version"));
    }
}
