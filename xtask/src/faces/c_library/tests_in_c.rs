//! The tests of the C library: programs in C, plainly and under two checkers; all vectors; the samples.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{FOLDER, pkg_config, prefix_of_tests};
use crate::faces::bench::Runner;
use crate::place::Place;
use crate::{Failure, toolchain};

/// A handle's instances, and the decisions that each of several threads makes.
const USUAL: [&str; 2] = ["16", "1000"];
/// Valgrind is short of address space, and slow.
const UNDER_VALGRIND: [&str; 2] = ["2", "40"];

const FLAGS: [&str; 9] = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g", "-pthread", "-DWITH_PANIC"];

/// The folders of one run.
struct Tests {
    /// The checkout.
    checkout: PathBuf,
    /// The crate.
    source: PathBuf,
    /// Where the library is.
    prefix: PathBuf,
    /// Where programs are put, and what they write.
    work: PathBuf,
}

pub(in crate::faces) fn run(place: &Place) -> Result<(), Failure> {
    let tests = Tests {
        checkout: place.checkout.clone(),
        source: place.checkout.join(FOLDER),
        prefix: prefix_of_tests(place),
        work: place.target.join("c-library/work"),
    };
    // What earlier runs left would be found: records, for one.
    let _ = fs::remove_dir_all(&tests.work);
    fs::create_dir_all(&tests.work).map_err(|error| format!("{}: {error}", tests.work.display()))?;
    in_rust(place)?;
    tests.exports()?;
    tests.programs()?;
    tests.vectors()?;
    tests.readme()?;
    tests.samples()?;
    println!("c-library: all tests passed");
    Ok(())
}

/// The header against the source; a store in another process.
fn in_rust(place: &Place) -> Result<(), Failure> {
    let mut cargo = toolchain::cargo(place, "test")?;
    cargo.args(["--workspace", "--test", "header", "--test", "other_process"]);
    toolchain::run(cargo.env("SMTP_FALLBACK_COMPONENT", place.component()))
}

/// What measures the library as users have it: from C, and from languages that call C.
pub(super) fn runners(place: &Place) -> Result<Vec<Runner>, Failure> {
    super::release(place)?;
    let tests = Tests {
        checkout: place.checkout.clone(),
        source: place.checkout.join(FOLDER),
        prefix: place.checkout.join("dist/c"),
        work: place.target.join("c-library/bench"),
    };
    fs::create_dir_all(&tests.work).map_err(|error| format!("{}: {error}", tests.work.display()))?;
    let (in_c, settings) = tests.runner()?;
    let in_go = tests.work.join("bench-in-go");
    let mut go = tests.command("go");
    go.arg("build").arg("-o").arg(&in_go).arg(tests.source.join("samples/go/bench.go"));
    go.env("PKG_CONFIG_PATH", tests.prefix.join("lib/pkgconfig")).env("GOCACHE", tests.work.join("go"));
    toolchain::run(&mut go)?;
    let runner = |name, program: &Path, script: Option<&str>| {
        let script = script.map(|script| tests.source.join("samples").join(script));
        let arguments: Vec<&OsStr> = script.iter().map(|path| path.as_os_str()).chain([settings.as_os_str()]).collect();
        let environment = vec![("LD_LIBRARY_PATH", tests.prefix.join("lib").into())];
        Runner { environment, ..Runner::new(name, program, &arguments) }
    };
    Ok(vec![
        runner("C, C library", &in_c, None),
        runner("LuaJIT, C library", Path::new("luajit"), Some("luajit/bench.lua")),
        runner("Perl, C library", Path::new("perl"), Some("perl/bench.pl")),
        runner("PHP, C library", Path::new("php"), Some("php/bench.php")),
        runner("Go, C library", &in_go, None),
    ])
}

impl Tests {
    /// Nothing is visible but the library's own functions, whose programs find it by its soname.
    fn exports(&self) -> Result<(), Failure> {
        let library = self.prefix.join("lib/libsmtp_fallback.so");
        let table = toolchain::output(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library))?;
        let strange: Vec<&str> = table.lines().filter(|line| !line.starts_with("smtp_fallback_")).collect();
        if !strange.is_empty() || table.lines().count() < 14 {
            return Err(format!("{} exports {strange:?} beside {} lines in all", library.display(), table.lines().count()));
        }
        let sections = toolchain::output(Command::new("readelf").arg("-d").arg(&library))?;
        match sections.contains("[libsmtp_fallback.so.0]") && sections.contains("NODELETE") {
            true => Ok(()),
            false => Err(format!("{} lacks its soname or the flag NODELETE:\n{sections}", library.display())),
        }
    }

    /// Compiles C files to a program.
    fn compile(&self, program: &str, files: &[PathBuf], options: &[String]) -> Result<PathBuf, Failure> {
        let program = self.work.join(program);
        let mut gcc = Command::new("gcc");
        gcc.args(FLAGS).args(pkg_config(&self.prefix, &["--cflags"])?).args(files).args(options).arg("-o").arg(&program);
        toolchain::run(&mut gcc).map(|()| program)
    }

    fn shared(&self) -> Result<Vec<String>, Failure> {
        pkg_config(&self.prefix, &["--libs"])
    }

    /// The file that is linked whole, and what the system has for it.
    fn whole(&self) -> Result<Vec<String>, Failure> {
        let mut options = pkg_config(&self.prefix, &["--static", "--libs"])?;
        let archive = self.prefix.join("lib/libsmtp_fallback.a").display().to_string();
        options.iter_mut().filter(|option| *option == "-lsmtp_fallback").for_each(|option| option.clone_from(&archive));
        Ok(options)
    }

    /// A program of this library's, that finds it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.checkout).env("LD_LIBRARY_PATH", self.prefix.join("lib"));
        command
    }

    /// Runs a test program, by the words of another one before it. The cache of machine code is kept, records are not.
    fn try_out(&self, before: &[String], program: &Path, sizes: [&str; 2]) -> Result<(), Failure> {
        for records in ["records", "records.lock", "forked.records", "forked.records.lock"] {
            let _ = fs::remove_file(self.work.join(records));
        }
        let words: Vec<&str> = before.iter().map(String::as_str).chain(program.to_str()).collect();
        let (first, rest) = words.split_first().ok_or("the target folder's name is not UTF-8")?;
        let mut command = self.command(first);
        command.args(rest).arg(self.component()).arg(&self.work).args(sizes);
        toolchain::run(&mut command)
    }

    fn component(&self) -> PathBuf {
        self.prefix.join("share/smtp-fallback/smtp-fallback-policy.wasm")
    }

    fn programs(&self) -> Result<(), Failure> {
        let sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"].map(str::to_owned);
        for name in ["library", "fork", "stores"] {
            let files = [format!("{name}.c"), "check.c".to_owned()].map(|file| self.source.join("tests").join(file));
            let shared = self.compile(name, &files, &self.shared()?)?;
            self.try_out(&[], &shared, USUAL)?;
            let options = [self.shared()?, sanitized.to_vec()].concat();
            let program = self.compile(&format!("{name}-sanitized"), &files, &options)?;
            self.try_out(&[], &program, USUAL)?;
            self.under_valgrind(&shared)?;
            if name == "library" {
                self.try_out(&[], &self.compile("library-static", &files, &self.whole()?)?, USUAL)?;
            }
        }
        Ok(())
    }

    /// Also what a forked child has to say, whose exit status may be another program's.
    fn under_valgrind(&self, program: &Path) -> Result<(), Failure> {
        let logs = self.work.join("valgrind");
        let _ = fs::remove_dir_all(&logs);
        fs::create_dir(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
        let mut words: Vec<String> = vec!["valgrind".to_owned(), "--quiet".to_owned(), "--error-exitcode=9".to_owned()];
        // The component's machine code is written and run in one process.
        words.push("--smc-check=all-non-file".to_owned());
        words.extend(["--leak-check=full", "--show-leak-kinds=definite,indirect"].map(str::to_owned));
        words.push("--errors-for-leak-kinds=definite,indirect".to_owned());
        words.push(format!("--suppressions={}", self.source.join("tests/valgrind.supp").display()));
        words.push(format!("--log-file={}/%p", logs.display()));
        let status = self.try_out(&words, program, UNDER_VALGRIND);
        let entries = fs::read_dir(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
        let said: String = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
        match (status, said.is_empty()) {
            (Ok(()), true) => Ok(()),
            (Err(failure), true) => Err(failure),
            (_, false) => Err(format!("{} under valgrind:\n{said}", program.display())),
        }
    }

    fn vectors(&self) -> Result<(), Failure> {
        let (program, settings) = self.runner()?;
        toolchain::run(self.command(program).arg(settings).arg("tests/vectors"))
    }

    /// The runner in C, and the settings that it and those in other languages open the library with.
    fn runner(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let settings = self.work.join("settings.json");
        // The time limit is not what is tested, on a machine that may be busy.
        let text = format!(
            r#"{{"component": {:?}, "cache": {:?}, "deadline-ms": 10000, "instances": 1}}"#,
            self.component(),
            self.work.join("cache")
        );
        fs::write(&settings, text).map_err(|error| format!("{}: {error}", settings.display()))?;
        let runners = self.checkout.join("tests/runners/c");
        let files = ["vectors.c", "calls.c", "bench.c", "library.c"].map(|file| runners.join(file));
        let options = [self.shared()?, vec!["-ljansson".to_owned()]].concat();
        Ok((self.compile("vectors", &files, &options)?, settings))
    }

    /// The example of the README compiles, and says what the README says.
    fn readme(&self) -> Result<(), Failure> {
        let path = self.source.join("README.md");
        let readme = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let part = |begin: &str| readme.split_once(begin).and_then(|(_, rest)| rest.split_once("```")).map(|(part, _)| part);
        let (Some(example), Some(says)) = (part("```c\n"), part("It prints\n\n```\n")) else {
            return Err(format!("{} has no example, or not what it prints", path.display()));
        };
        let file = self.work.join("example.c");
        fs::write(&file, example).map_err(|error| format!("{}: {error}", file.display()))?;
        let program = self.compile("example", &[file], &self.shared()?)?;
        let found = toolchain::output(self.command(program).arg(self.component()))?;
        same("the example of the README", &found, says)
    }

    fn samples(&self) -> Result<(), Failure> {
        let samples = self.source.join("samples");
        let path = samples.join("expected.txt");
        let expected = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (words, file) in [
            (&["perl"][..], "perl/ask.pl"),
            (&["luajit"], "luajit/ask.lua"),
            (&["php"], "php/ask.php"),
            (&["go", "run"], "go/ask.go"),
        ] {
            let mut command = self.command(words[0]);
            command.args(&words[1..]).arg(samples.join(file)).arg(self.component());
            command.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig")).env("GOCACHE", self.work.join("go"));
            same(file, &toolchain::output(&mut command)?, &expected)?;
        }
        Ok(())
    }
}

fn same(what: &str, found: &str, expected: &str) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} prints\n{found}expected\n{expected}")),
    }
}
