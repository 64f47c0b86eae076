//! The committed corpus: seeds, and octets that were changed at random.

use std::panic::catch_unwind;
use std::path::Path;

use super::check_input;

#[test]
fn the_corpus_of_a_client_s_octets_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files = Vec::new();
    for folder in [folder.join("changed"), folder] {
        for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of it").path();
            if path.is_file() {
                files.push((path.display().to_string(), std::fs::read(&path).expect("readable")));
            }
        }
    }
    assert!((20..=120).contains(&files.len()), "{} files", files.len());
    let failed: Vec<&String> =
        files.iter().filter(|(_, octets)| catch_unwind(|| check_input(octets)).is_err()).map(|(path, _)| path).collect();
    assert!(failed.is_empty(), "the reasons are above: {failed:#?}");
}
