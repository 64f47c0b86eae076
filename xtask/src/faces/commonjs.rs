//! The CommonJS form of an ES module: what Node needs that cannot `require` the latter (before 20.19), and what users of `require` get.

use crate::Failure;

/// Rewrites it. It may import by `import { a, b } from './other.js';` alone, of which the other has this form too, and export by `export` before a
/// class, a function or a constant: each at the start of a line, as the sources here and those of jco have it.
pub(super) fn of(module: &str) -> Result<String, Failure> {
    let mut text = "'use strict';\n".to_owned();
    let mut exported = Vec::new();
    for (index, line) in module.lines().enumerate() {
        let line = if line.starts_with("import ") || line.starts_with("import{") {
            import(line)
        } else if let Some(declaration) = line.strip_prefix("export ") {
            name(declaration).map(|name| {
                exported.push(name);
                declaration.to_owned()
            })
        } else {
            Some(line.to_owned())
        }
        .ok_or_else(|| {
            format!("line {} has no CommonJS form that this program knows: {line}; see xtask/src/faces/commonjs.rs", index + 1)
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!("\nmodule.exports = {{ {} }};\n", exported.join(", ")));
    Ok(text)
}

fn import(line: &str) -> Option<String> {
    let (names, file) = line.strip_prefix("import {")?.strip_suffix(".js';")?.split_once("} from './")?;
    Some(format!("const {{{names}}} = require('./{file}.cjs');"))
}

/// The name that is declared.
fn name(declaration: &str) -> Option<&str> {
    let mut words = declaration.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).filter(|word| !word.is_empty());
    match words.next()? {
        "class" | "function" | "const" => words.next(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_change_and_nothing_else() {
        let module = "import { a, b } from './other.js';\n\nexport class C extends a {}\nexport function f(x) {\n  return b(x);\n}\nexport const n = 1;\n";
        assert_eq!(
            of(module).as_deref(),
            Ok(
                "'use strict';\nconst { a, b } = require('./other.cjs');\n\nclass C extends a {}\nfunction f(x) {\n  return b(x);\n}\n\
                const n = 1;\n\nmodule.exports = { C, f, n };\n"
            )
        );
    }

    #[test]
    fn what_has_no_form_is_refused_with_its_line() {
        for strange in [
            "import a from './a.js';",
            "import { a } from 'a';",
            "import './a.js';",
            "export default 1;",
            "export { a };",
            "export * from './a.js';",
        ] {
            let failure = of(&format!("\n{strange}\n")).expect_err("must fail");
            assert!(failure.contains("line 2 ") && failure.contains(strange), "{failure}");
        }
    }
}
