//! Numbers, times, modes and names as people read them, and as JSON has them.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use brimfs::{FileType, Metadata, Timestamp};
use serde_json::{Map, Value, json};

/// A name as bytes for standard output: unchanged for programs, on one line for a terminal.
pub(crate) fn shown(name: &[u8]) -> Vec<u8> {
    match io::stdout().is_terminal() {
        true => printable(name).into_bytes(),
        false => name.to_vec(),
    }
}

/// A name on one line, without anything that a terminal obeys.
pub(crate) fn printable(name: &[u8]) -> String {
    let mut text = String::new();
    for part in name.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter.is_control() || letter == '\\' {
                true => text.extend(letter.escape_default()),
                false => text.push(letter),
            }
        }
        for byte in part.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Adds a path, or a target, to an object. JSON is text: what is not, it has as bytes too.
pub(crate) fn put_path(object: &mut Map<String, Value>, key: &str, path: &[u8]) {
    object.insert(key.into(), String::from_utf8_lossy(path).into());
    if std::str::from_utf8(path).is_err() {
        object.insert(format!("{key}_bytes"), path.into());
    }
}

/// What is known about a node, for JSON.
pub(crate) fn object(path: &[u8], known: &Metadata, target: Option<&[u8]>) -> Map<String, Value> {
    let mut object = Map::new();
    put_path(&mut object, "path", path);
    object.insert("type".into(), kind(known.file_type()).into());
    if let Some(target) = target {
        put_path(&mut object, "target", target);
    }
    let rest = json!({
        "size": known.len(),
        "allocated": known.allocated(),
        "mode": format!("{:04o}", known.mode()),
        "uid": known.uid(),
        "gid": known.gid(),
        "links": known.nlink(),
        "inode": known.ino(),
        "modified": precise(known.modified()),
        "changed": precise(known.changed()),
        "accessed": precise(known.accessed()),
        "created": precise(known.created()),
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    object
}

/// JSON as it is printed.
pub(crate) fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symlink"
    } else {
        "file"
    }
}

/// Type and permissions as `ls -l` has them: `-rw-r--r--`.
pub(crate) fn mode(known: &Metadata) -> String {
    let mode = known.mode();
    let first = match kind(known.file_type()) {
        "directory" => 'd',
        "symlink" => 'l',
        _ => '-',
    };
    let mut text = String::from(first);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A size with its unit: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match (unit, bytes) {
        (_, 1) => "1 byte".to_owned(),
        ("bytes", _) => format!("{bytes} bytes"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// A number of things: `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// A time in UTC to the second: `2026-11-22 17:14:44`.
pub(crate) fn time(time: Timestamp) -> String {
    let (date, clock) = parts(time);
    format!("{date} {clock}")
}

/// A time as RFC 3339 has it, with all nanoseconds.
pub(crate) fn precise(time: Timestamp) -> String {
    let (date, clock) = parts(time);
    format!("{date}T{clock}.{:09}Z", time.nanos)
}

fn parts(time: Timestamp) -> (String, String) {
    let (day, second) = (
        time.seconds.div_euclid(86_400),
        time.seconds.rem_euclid(86_400),
    );
    // The year counts from March, so that leap days come last.
    let day = i128::from(day) + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let year = year + era * 400 + i128::from(month >= 10);
    let (month, day) = ((month + 2) % 12 + 1, day - (153 * month + 2) / 5 + 1);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{hour:02}:{minute:02}:{second:02}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(printable(b"plain name"), "plain name");
        assert_eq!(printable("über".as_bytes()), "über");
        assert_eq!(printable(b"a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(printable(b"\xff\\"), "\\xff\\\\");
    }

    #[test]
    fn times_and_sizes_are_words() {
        let at = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(time(at(951_782_400, 0)), "2000-02-29 00:00:00");
        assert_eq!(precise(at(-1, 5)), "1969-12-31T23:59:59.000000005Z");
        let _ = time(at(i64::MIN, 0));
        let sizes = [0, 1, 1023, 1536, u64::MAX].map(size);
        let words = ["0 bytes", "1 byte", "1023 bytes", "1.5 KiB", "16.0 EiB"];
        assert_eq!(sizes, words);
    }
}
