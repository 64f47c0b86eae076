//! The committed corpus of decisions (see fuzz/README.md), of which each call is made to the shipped component, too.

use std::path::Path;

use smtp_fallback_tests::{Calls, check_component};

#[test]
fn the_component_decides_what_the_library_decides() {
    let mut all = Calls::default();
    for folder in ["corpus/decide", "corpus/decide/found"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in folder.read_dir().expect("the folder is there") {
            let path = entry.expect("an entry of it").path();
            if !path.is_file() {
                continue;
            }
            println!("{}", path.display());
            let Calls { decisions, refusals, told, shown } = check_component(&std::fs::read(&path).expect("readable"), false);
            all.decisions += decisions;
            all.refusals += refusals;
            all.told += told;
            all.shown += shown;
        }
    }
    let Calls { decisions, refusals, told, shown } = all;
    assert!(decisions > 200 && refusals > 40 && told > 150 && shown > 40, "{all:?}");
}
