//! Vectors as they stand in the files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vector {
    /// What it shows, in a sentence.
    pub about: String,
    /// The requirements that it holds, such as "P6".
    pub holds: Vec<String>,
    /// The policy that is configured before the first step; without it the module has none.
    #[serde(default)]
    pub policy: Option<Value>,
    /// The secret that it is configured with; without it that of all vectors. With an empty one no mail is recognised.
    #[serde(default)]
    pub secret: Option<String>,
    /// Input that all steps share: their own fields go over these.
    #[serde(default)]
    pub given: Value,
    /// What is called, in this order.
    pub steps: Vec<Step>,
    /// The file, relative to `vectors/`.
    #[serde(skip)]
    pub file: String,
}

/// One call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// The function of the contract.
    pub call: Call,
    /// Its arguments, by name.
    #[serde(default)]
    pub input: Value,
    /// What it has to return; for `explain` texts that have to be in it.
    pub expect: Value,
    /// How often it is called, with the same outcome each time.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// The functions that a vector can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the contract's")]
pub enum Call {
    Configure,
    Describe,
    Keys,
    Decide,
    Explain,
    ParseAddress,
    Inspect,
    ParseAuthenticationResults,
}

/// All vectors, in the order of their file names.
pub fn vectors() -> Vec<Vector> {
    vectors_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors"))
}

/// Those in this folder and in the folders in it.
pub fn vectors_in(root: &Path) -> Vec<Vector> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    files.iter().map(|file| read(root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder that can be opened can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Vector {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut vector: Vector = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    vector.file = file.strip_prefix(root).expect("it was found under the root").display().to_string();
    vector
}
