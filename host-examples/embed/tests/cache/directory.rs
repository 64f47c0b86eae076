//! Directories that are refused.

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::{Path, PathBuf};

use smtp_fallback_embed::{Cache, CacheError};

use crate::{load, names, place, set_mode, small};

fn refused(path: &Path) -> CacheError {
    Cache::open(path).unwrap_err()
}

#[test]
fn a_directory_that_others_can_write() {
    let (_parent, path) = place();
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o720, 0o702, 0o1777] {
        set_mode(&path, mode);
        let error = refused(&path);
        assert!(matches!(error, CacheError::Writable { mode: told, .. } if told == mode), "{error}");
        assert!(error.to_string().ends_with(&format!("`chmod go-w {}`", path.display())), "{error}");
    }
    for mode in [0o755, 0o700] {
        set_mode(&path, mode);
        Cache::open(&path).unwrap();
    }
}

#[test]
fn a_directory_that_is_a_link() {
    let (parent, path) = place();
    let real = parent.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, &path).unwrap();
    for path in [path.clone(), path.join(""), path.join(".")] {
        let error = refused(&path);
        assert!(matches!(error, CacheError::Link(_)), "{error}");
    }
    symlink(parent.path().join("missing"), parent.path().join("dangling")).unwrap();
    assert!(matches!(refused(&parent.path().join("dangling")), CacheError::Link(_)));
    assert!(!parent.path().join("missing").exists());
    Cache::open(real).unwrap();
}

#[test]
fn a_directory_of_another_user() {
    // Only root can give a directory away; the rule itself is tried beside the code, as any user.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (parent, path) = place();
    fs::create_dir(&path).unwrap();
    chown(&path, Some(65534), None).unwrap();
    assert!(matches!(refused(&path), CacheError::Owner { owner: 65534, user: 0, .. }));
    chown(&path, Some(0), None).unwrap();
    Cache::open(&path).unwrap();

    chown(parent.path(), Some(65534), None).unwrap();
    let error = refused(&path);
    assert!(matches!(&error, CacheError::ParentOwner { at, owner: 65534, .. } if at == parent.path()), "{error}");
    chown(parent.path(), Some(0), None).unwrap();

    let link = parent.path().join("link");
    symlink(parent.path(), &link).unwrap();
    Cache::open(link.join("cache")).unwrap();
    lchown(&link, Some(65534), None).unwrap();
    assert!(matches!(refused(&link.join("cache")), CacheError::ParentOwner { at, .. } if at == link));
}

#[test]
fn a_parent_that_others_can_write() {
    let (parent, path) = place();
    let deep = parent.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    for mode in [0o777, 0o770, 0o707] {
        set_mode(parent.path(), mode);
        for path in [&path, &deep, &parent.path().join("a/../cache")] {
            let error = refused(path);
            assert!(
                matches!(&error, CacheError::ParentWritable { at, mode: told, .. } if at == parent.path() && *told == mode),
                "{error}"
            );
        }
        assert!(!path.exists(), "nothing is made there");
    }
    // With the sticky bit only its owner can rename the cache.
    set_mode(parent.path(), 0o1777);
    Cache::open(&path).unwrap();
    Cache::open(&deep).unwrap();
}

#[test]
fn links_on_the_way() {
    let (parent, path) = place();
    let at = |name: &str| parent.path().join(name);
    symlink(parent.path(), at("absolute")).unwrap();
    symlink(".", at("relative")).unwrap();
    symlink("absolute/relative", at("both")).unwrap();
    fs::create_dir(at("sub")).unwrap();
    symlink("../relative", at("sub/up")).unwrap();
    for way in ["absolute", "relative", "both", "sub/up", "sub/up/sub/..", "sub/../both/"] {
        let cache = Cache::open(at(way).join("cache")).unwrap_or_else(|error| panic!("{way}: {error}"));
        load(&small(1), &cache);
        assert_eq!(names(&path).len(), 1, "{way}");
    }
    symlink("loop", at("loop")).unwrap();
    let error = refused(&at("loop/cache"));
    assert!(matches!(&error, CacheError::Open { source, .. } if source.raw_os_error() == Some(nix::libc::ELOOP)), "{error}");
    // A link that leads through a directory that others can write.
    set_mode(&at("sub"), 0o777);
    symlink("sub/up", at("through")).unwrap();
    assert!(matches!(refused(&at("through/cache")), CacheError::ParentWritable { at: told, .. } if told == at("sub")));
}

#[test]
fn paths_that_lead_nowhere() {
    let (parent, path) = place();
    for path in ["", "/", "..", "a/.."] {
        assert!(matches!(refused(Path::new(path)), CacheError::Path(_)), "{path:?}");
    }
    let error = refused(&path.join("below"));
    assert!(matches!(&error, CacheError::Open { at, .. } if *at == path), "{error}");
    let text = format!("cache directory {0}/below: {0}: No such file or directory", path.display());
    assert!(error.to_string().starts_with(&text), "{error}");
    fs::write(&path, "").unwrap();
    for path in [&path, &path.join("below")] {
        let error = refused(path);
        assert!(
            matches!(&error, CacheError::Open { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory),
            "{error}"
        );
    }
    assert!(matches!(refused(&parent.path().join("a\0b")), CacheError::Open { .. }));
}

/// The error says why it cannot be made, not that it does not exist.
#[test]
fn a_directory_that_cannot_be_made() {
    // Nothing can be made below /sys, not even by root, whom no mode binds.
    let (parent, path) = place();
    let locked = parent.path().join("locked");
    fs::create_dir(&locked).unwrap();
    set_mode(&locked, 0o500);
    for holder in [Path::new("/sys"), &locked] {
        if !holder.exists() || (holder == locked && nix::unistd::geteuid().is_root()) {
            continue;
        }
        let error = refused(&holder.join("policy-cache"));
        assert!(matches!(&error, CacheError::Open { source, .. } if source.kind() != std::io::ErrorKind::NotFound), "{error}");
    }
    set_mode(&locked, 0o700);
    Cache::open(&path).unwrap();
}

#[test]
fn a_relative_path() {
    let (parent, path) = place();
    // Up to the root and down again: the working directory is shared by all tests.
    let depth = std::env::current_dir().unwrap().components().count() - 1;
    let relative: PathBuf = std::iter::repeat_n("..", depth).collect();
    Cache::open(relative.join(parent.path().strip_prefix("/").unwrap()).join("cache")).unwrap();
    assert!(path.is_dir());
}
