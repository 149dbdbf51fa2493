//! The tracked files of the repository, read once.
//!
//! Files that are new but not ignored count as tracked, so that a check says
//! the same before and after `git add`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lex::{self, Language};

/// A text file: its lines as written, and its code without comments and literals.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// As long as `text`, with comments and the insides of literals blanked;
    /// the same as `text` in a language that is not lexed.
    pub code: String,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> Self {
        let code = match Language::of(path) {
            Some(language) => lex::blank(text, language),
            None => text.to_owned(),
        };
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    pub fn is_rust(&self) -> bool {
        Language::of(&self.path) == Some(Language::Rust)
    }

    pub fn is_python(&self) -> bool {
        Language::of(&self.path) == Some(Language::Python)
    }

    /// The path inside the core crate's `src`, if the file lies there.
    pub fn in_core(&self) -> Option<&str> {
        self.path
            .strip_prefix(crate::rules::CORE_SOURCE)
            .filter(|_| self.is_rust())
    }
}

/// Every tracked text file.
#[derive(Debug)]
pub struct Repo {
    pub root: PathBuf,
    pub files: Vec<SourceFile>,
}

impl Repo {
    /// Reads the repository that this program was built in.
    pub fn open() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or_else(|| io::Error::other("xtask has no parent directory"))?
            .to_owned();
        let mut files = Vec::new();
        for path in tracked(&root)? {
            match std::fs::read(root.join(&path)) {
                Ok(bytes) => {
                    if let Ok(text) = String::from_utf8(bytes) {
                        files.push(SourceFile::new(&path, &text));
                    }
                }
                // Removed from the work tree, or a submodule or link to a directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Repo { root, files })
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Repo {
            root: PathBuf::new(),
            files: files
                .iter()
                .map(|(path, text)| SourceFile::new(path, text))
                .collect(),
        }
    }

    pub fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn tracked(root: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git ls-files: {reason}")));
    }
    let mut paths: Vec<String> = output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}
