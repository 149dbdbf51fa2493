//! Every kind of bad input has one clear error, which names the path, and changes nothing.
#![cfg(not(feature = "shuttle"))]

mod snapshot;

use std::io::{Read, Seek, SeekFrom, Write};

use brimfs::{
    Error, ErrorKind, File, FileSystem, FileTimes, LockMode, OpenOptions, RenameMode, Timestamp,
    XattrMode,
};

use snapshot::snapshot;

const QUOTA: u64 = 1 << 20;
const TOO_FAR: u64 = 1 << 63;

struct Case {
    what: &'static str,
    kind: ErrorKind,
    /// What the error says the path was.
    path: Vec<u8>,
    call: Call,
}

type Call = Box<dyn Fn(&FileSystem) -> Result<(), Error>>;

fn case(
    what: &'static str,
    kind: ErrorKind,
    path: impl AsRef<[u8]>,
    call: impl Fn(&FileSystem) -> Result<(), Error> + 'static,
) -> Case {
    Case {
        what,
        kind,
        path: path.as_ref().to_vec(),
        call: Box::new(call),
    }
}

/// Every call with one path, tried on `path`.
fn every_call(kind: ErrorKind, path: &[u8]) -> Vec<Case> {
    macro_rules! calls {
        ($($what:literal => |$fs:ident, $p:ident| $call:expr;)*) => {
            vec![$({
                let $p = path.to_vec();
                case($what, kind, path, move |$fs| $call.map(drop))
            },)*]
        };
    }
    calls! {
        "create_dir" => |fs, p| fs.create_dir(&p);
        "create_dir_all" => |fs, p| fs.create_dir_all(&p);
        "remove_dir" => |fs, p| fs.remove_dir(&p);
        "remove_file" => |fs, p| fs.remove_file(&p);
        "remove_dir_all" => |fs, p| fs.remove_dir_all(&p);
        "read_dir" => |fs, p| fs.read_dir(&p);
        "walk" => |fs, p| fs.walk(&p);
        "metadata" => |fs, p| fs.metadata(&p);
        "symlink_metadata" => |fs, p| fs.symlink_metadata(&p);
        "rename from" => |fs, p| fs.rename(&p, "/dir/new");
        "rename to" => |fs, p| fs.rename("/dir/file", &p);
        "copy from" => |fs, p| fs.copy(&p, "/dir/new");
        "copy to" => |fs, p| fs.copy("/dir/file", &p);
        "copy_dir_all from" => |fs, p| fs.copy_dir_all(&p, "/new");
        "copy_dir_all to" => |fs, p| fs.copy_dir_all("/dir", &p);
        "symlink" => |fs, p| fs.symlink("file", &p);
        "read_link" => |fs, p| fs.read_link(&p);
        "hard_link from" => |fs, p| fs.hard_link(&p, "/dir/new");
        "hard_link to" => |fs, p| fs.hard_link("/dir/file", &p);
        "canonicalize" => |fs, p| fs.canonicalize(&p);
        "set_permissions" => |fs, p| fs.set_permissions(&p, 0o600);
        "set_owner" => |fs, p| fs.set_owner(&p, Some(1), None);
        "set_times" => |fs, p| fs.set_times(&p, FileTimes::default());
        "set_xattr" => |fs, p| fs.set_xattr(&p, "user.a", b"value", XattrMode::Set);
        "xattr" => |fs, p| fs.xattr(&p, "user.a");
        "list_xattrs" => |fs, p| fs.list_xattrs(&p);
        "remove_xattr" => |fs, p| fs.remove_xattr(&p, "user.a");
        "read" => |fs, p| fs.read(&p);
        "write" => |fs, p| fs.write(&p, vec![1; 5000]);
        "write_slice" => |fs, p| fs.write_slice(&p, b"bytes");
        "append" => |fs, p| fs.append(&p, b"bytes");
        "truncate" => |fs, p| fs.truncate(&p, 1);
        "view" => |fs, p| fs.view(&p);
        "open" => |fs, p| fs.open(&p);
        "create" => |fs, p| fs.create(&p);
        "touch" => |fs, p| fs.touch(&p);
    }
}

/// A small tree in a filesystem with a quota of 1 MiB.
fn tree() -> FileSystem {
    let fs = FileSystem::builder()
        .quota(QUOTA)
        // A budget of its own: other tests run meanwhile.
        .memory_limit(64 << 20)
        .build()
        .expect("a filesystem");
    fs.create_dir_all("/dir/sub").expect("directories");
    fs.write("/dir/file", vec![7; 20_000]).expect("a file");
    fs.write("/dir/sub/small", &b"small"[..]).expect("a file");
    fs.symlink("file", "/dir/link").expect("a link");
    fs.symlink("/loop", "/loop").expect("a loop");
    fs.set_xattr("/dir/file", "user.kept", b"value", XattrMode::Set)
        .expect("an attribute");
    fs
}

fn check(cases: Vec<Case>) {
    let fs = tree();
    // Reading notes the time of access once.
    snapshot(&fs);
    let before = snapshot(&fs);
    for case in cases {
        let shown = String::from_utf8_lossy(&case.path).into_owned();
        let what = format!(
            "{} of {:?}",
            case.what,
            shown.chars().take(40).collect::<String>()
        );
        let error = match (case.call)(&fs) {
            Err(error) => error,
            Ok(()) => panic!("{what} succeeded"),
        };
        assert_eq!(error.kind(), case.kind, "{what}: {error}");
        let named = [error.path(), error.other_path()];
        let named = named.into_iter().flatten().any(|path| path == case.path);
        assert!(named, "{what} does not name the path: {error}");
        let message = error.to_string();
        assert!(message.contains(&format!("{shown:?}")), "{what}: {message}");
        assert!(message.starts_with(error.op()), "{what}: {message}");
        assert_eq!(snapshot(&fs), before, "{what} changed something");
    }
}

#[test]
fn paths_above_the_root() {
    for path in [
        "..",
        "/..",
        "/../x",
        "/dir/../../x",
        "/dir/sub/../../../dir/file",
    ] {
        check(every_call(ErrorKind::PathEscapes, path.as_bytes()));
    }
}

#[test]
fn a_nul_byte() {
    for path in [&b"\0"[..], b"/dir/\0", b"/di\0r/file", b"/dir/file\0"] {
        check(every_call(ErrorKind::NulInPath, path));
    }
}

#[test]
fn an_empty_path() {
    check(every_call(ErrorKind::EmptyPath, b""));
}

#[test]
fn a_name_of_256_bytes() {
    let long = "n".repeat(256);
    for path in [
        format!("/{long}"),
        format!("/dir/{long}"),
        format!("/dir/{long}/x"),
    ] {
        check(every_call(ErrorKind::NameTooLong, path.as_bytes()));
    }
}

#[test]
fn a_name_of_255_bytes_is_fine() {
    let fs = tree();
    let path = format!("/dir/{}", "n".repeat(255));
    fs.write(&path, &b"fits"[..]).expect("a long name");
    assert_eq!(fs.read(&path).expect("it is there").as_ref(), b"fits");
}

#[test]
fn a_file_as_a_directory() {
    check(every_call(ErrorKind::NotADirectory, b"/dir/file/x"));
    check(every_call(ErrorKind::NotADirectory, b"/dir/link/x/y"));
}

#[test]
fn a_loop_of_links() {
    check(every_call(ErrorKind::TooManySymlinks, b"/loop/x"));
}

#[test]
fn a_directory_as_a_file_and_a_file_as_a_directory() {
    use ErrorKind::{IsADirectory, NotADirectory};
    check(vec![
        case("read", IsADirectory, "/dir", |fs| fs.read("/dir").map(drop)),
        case("write", IsADirectory, "/dir", |fs| {
            fs.write("/dir", &b"x"[..])
        }),
        case("append", IsADirectory, "/dir", |fs| {
            fs.append("/dir", b"x").map(drop)
        }),
        case("truncate", IsADirectory, "/dir", |fs| {
            fs.truncate("/dir", 0)
        }),
        case("view", IsADirectory, "/dir", |fs| fs.view("/dir").map(drop)),
        case("open", IsADirectory, "/dir", |fs| fs.open("/dir").map(drop)),
        case("create", IsADirectory, "/dir", |fs| {
            fs.create("/dir").map(drop)
        }),
        case("create", IsADirectory, "/new/", |fs| {
            fs.create("/new/").map(drop)
        }),
        case("remove_file", IsADirectory, "/dir", |fs| {
            fs.remove_file("/dir")
        }),
        case("copy from", IsADirectory, "/dir", |fs| {
            fs.copy("/dir", "/new").map(drop)
        }),
        case("copy to", IsADirectory, "/dir", |fs| {
            fs.copy("/dir/file", "/dir").map(drop)
        }),
        case("rename over", IsADirectory, "/dir/sub", |fs| {
            fs.rename("/dir/file", "/dir/sub")
        }),
        case("read_dir", NotADirectory, "/dir/file", |fs| {
            fs.read_dir("/dir/file").map(drop)
        }),
        case("remove_dir", NotADirectory, "/dir/file", |fs| {
            fs.remove_dir("/dir/file")
        }),
        case("copy_dir_all", NotADirectory, "/dir/file", |fs| {
            fs.copy_dir_all("/dir/file", "/new")
        }),
        case("rename over", NotADirectory, "/dir/file", |fs| {
            fs.rename("/dir/sub", "/dir/file")
        }),
        case("metadata", NotADirectory, "/dir/file/", |fs| {
            fs.metadata("/dir/file/").map(drop)
        }),
        case("symlink", ErrorKind::NotFound, "/new/", |fs| {
            fs.symlink("x", "/new/")
        }),
        case(
            "create_dir_all",
            ErrorKind::AlreadyExists,
            "/dir/file",
            |fs| fs.create_dir_all("/dir/file"),
        ),
    ]);
}

#[test]
fn moving_and_copying_into_itself() {
    use ErrorKind::InvalidArgument;
    check(vec![
        case("rename", InvalidArgument, "/dir/sub/x", |fs| {
            fs.rename("/dir", "/dir/sub/x")
        }),
        case("rename", InvalidArgument, "/dir/x", |fs| {
            fs.rename("/dir", "/dir/x")
        }),
        case("rename", InvalidArgument, "/dir/sub/../x", |fs| {
            fs.rename("/dir", "/dir/sub/../x")
        }),
        case("exchange", InvalidArgument, "/dir/sub", |fs| {
            fs.rename_with("/dir", "/dir/sub", RenameMode::Exchange)
        }),
        case("copy_dir_all", InvalidArgument, "/dir/x", |fs| {
            fs.copy_dir_all("/dir", "/dir/x")
        }),
        case("copy_dir_all", InvalidArgument, "/dir/sub/x", |fs| {
            fs.copy_dir_all("/dir", "/dir/sub/x")
        }),
        case("copy_dir_all", InvalidArgument, "/x", |fs| {
            fs.copy_dir_all("/", "/x")
        }),
        case(
            "rename over a parent",
            ErrorKind::DirectoryNotEmpty,
            "/dir",
            |fs| fs.rename("/dir/sub", "/dir"),
        ),
        case("no replace", ErrorKind::AlreadyExists, "/dir/link", |fs| {
            fs.rename_with("/dir/file", "/dir/link", RenameMode::NoReplace)
        }),
    ]);
}

#[test]
fn removing_and_moving_the_root() {
    use ErrorKind::RootIsBusy;
    check(vec![
        case("remove_dir", RootIsBusy, "/", |fs| fs.remove_dir("/")),
        case("remove_dir", RootIsBusy, "//", |fs| fs.remove_dir("//")),
        case("remove_dir_all", RootIsBusy, "/", |fs| {
            fs.remove_dir_all("/")
        }),
        case("rename from", RootIsBusy, "/", |fs| fs.rename("/", "/new")),
        case("rename to", RootIsBusy, "/", |fs| fs.rename("/dir", "/")),
        case("exchange", RootIsBusy, "/", |fs| {
            fs.rename_with("/dir", "/", RenameMode::Exchange)
        }),
        case("remove_file", ErrorKind::IsADirectory, "/", |fs| {
            fs.remove_file("/")
        }),
        case("create_dir", ErrorKind::AlreadyExists, "/", |fs| {
            fs.create_dir("/")
        }),
        case("remove_dir", ErrorKind::InvalidArgument, "/dir/.", |fs| {
            fs.remove_dir("/dir/.")
        }),
        case("hard_link", ErrorKind::AlreadyExists, "/", |fs| {
            fs.hard_link("/dir/file", "/")
        }),
    ]);
}

#[test]
fn sizes_beyond_the_quota() {
    use ErrorKind::QuotaExceeded;
    let path = "/dir/file";
    let most = QUOTA as usize;
    check(vec![
        case("write", QuotaExceeded, path, move |fs| {
            fs.write(path, vec![1; most + 1])
        }),
        case("write", QuotaExceeded, "/new", move |fs| {
            fs.write("/new", vec![1; most])
        }),
        case("write_slice", QuotaExceeded, path, move |fs| {
            fs.write_slice(path, &vec![1; most + 1])
        }),
        case("append", QuotaExceeded, path, move |fs| {
            fs.append(path, &vec![1; most]).map(drop)
        }),
        case("write_at", QuotaExceeded, path, move |fs| {
            writer(fs)?.write_at(500, &vec![1; most]).map(drop)
        }),
        case("allocate", QuotaExceeded, path, |fs| {
            writer(fs)?.allocate(0, 1 << 40)
        }),
    ]);
}

#[test]
fn sizes_and_offsets_beyond_a_signed_64_bit_number() {
    use ErrorKind::{FileTooLarge, InvalidArgument};
    let path = "/dir/file";
    check(vec![
        case("truncate", FileTooLarge, path, move |fs| {
            fs.truncate(path, TOO_FAR)
        }),
        case("truncate", FileTooLarge, path, move |fs| {
            fs.truncate(path, u64::MAX)
        }),
        case("set_len", FileTooLarge, path, |fs| {
            writer(fs)?.set_len(TOO_FAR)
        }),
        case("write_at", FileTooLarge, path, |fs| {
            writer(fs)?.write_at(TOO_FAR - 1, b"xy").map(drop)
        }),
        case("write_at", FileTooLarge, path, |fs| {
            writer(fs)?.write_at(u64::MAX, b"x").map(drop)
        }),
        case("allocate", FileTooLarge, path, |fs| {
            writer(fs)?.allocate(TOO_FAR - 1, 2)
        }),
        case("allocate", FileTooLarge, path, |fs| {
            writer(fs)?.allocate(u64::MAX, u64::MAX)
        }),
        case("punch_hole", FileTooLarge, path, |fs| {
            writer(fs)?.punch_hole(u64::MAX, 2)
        }),
        case("seek", InvalidArgument, path, |fs| {
            seek(fs, SeekFrom::Start(TOO_FAR))
        }),
    ]);
}

#[test]
fn negative_offsets_and_empty_ranges() {
    use ErrorKind::InvalidArgument;
    let path = "/dir/file";
    check(vec![
        case("seek", InvalidArgument, path, |fs| {
            seek(fs, SeekFrom::Current(-1))
        }),
        case("seek", InvalidArgument, path, |fs| {
            seek(fs, SeekFrom::End(-20_001))
        }),
        case("seek", InvalidArgument, path, |fs| {
            seek(fs, SeekFrom::End(i64::MIN))
        }),
        case("seek", InvalidArgument, path, |fs| {
            seek(fs, SeekFrom::End(i64::MAX))
        }),
        case("allocate", InvalidArgument, path, |fs| {
            writer(fs)?.allocate(5, 0)
        }),
        case("punch_hole", InvalidArgument, path, |fs| {
            writer(fs)?.punch_hole(5, 0)
        }),
    ]);
}

#[test]
fn unknown_modes_and_options() {
    use ErrorKind::InvalidArgument;
    let path = "/dir/file";
    let open = |options: OpenOptions| move |fs: &FileSystem| options.open(fs, path).map(drop);
    let options = |set: fn(&mut OpenOptions)| {
        let mut options = OpenOptions::new();
        set(&mut options);
        options
    };
    check(vec![
        case("set_permissions", InvalidArgument, path, move |fs| {
            fs.set_permissions(path, 0o10000)
        }),
        case("create_dir_with", InvalidArgument, "/new", |fs| {
            fs.create_dir_with("/new", 0o10000)
        }),
        case(
            "mode",
            InvalidArgument,
            path,
            open(options(|o| {
                o.write(true).create(true).mode(0o200_000);
            })),
        ),
        case("nothing", InvalidArgument, path, open(options(|_| {}))),
        case(
            "truncate to read",
            InvalidArgument,
            path,
            open(options(|o| {
                o.read(true).truncate(true);
            })),
        ),
        case(
            "create to read",
            InvalidArgument,
            path,
            open(options(|o| {
                o.read(true).create(true);
            })),
        ),
        case(
            "truncate and append",
            InvalidArgument,
            path,
            open(options(|o| {
                o.append(true).truncate(true);
            })),
        ),
        case("times", InvalidArgument, path, move |fs| {
            let modified = Some(Timestamp {
                seconds: 0,
                nanos: 1_000_000_000,
            });
            let accessed = None;
            fs.set_times(path, FileTimes { accessed, modified })
        }),
        case("attribute", ErrorKind::OutOfRange, path, move |fs| {
            fs.set_xattr(path, "", b"value", XattrMode::Set)
        }),
        case("attribute", ErrorKind::OutOfRange, path, move |fs| {
            fs.set_xattr(path, "n".repeat(256), b"value", XattrMode::Set)
        }),
        case("attribute", ErrorKind::OutOfRange, path, move |fs| {
            fs.set_xattr(path, "user.big", &vec![0; (64 << 10) + 1], XattrMode::Set)
        }),
    ]);
}

#[test]
fn the_wrong_direction_of_a_handle() {
    use ErrorKind::BadHandle;
    let path = "/dir/file";
    check(vec![
        case("write", BadHandle, path, |fs| {
            inner(reader(fs)?.write(b"x"))
        }),
        case("write_at", BadHandle, path, |fs| {
            reader(fs)?.write_at(0, b"x").map(drop)
        }),
        case("set_len", BadHandle, path, |fs| reader(fs)?.set_len(0)),
        case("allocate", BadHandle, path, |fs| reader(fs)?.allocate(0, 1)),
        case("punch_hole", BadHandle, path, |fs| {
            reader(fs)?.punch_hole(0, 1)
        }),
        case("read", BadHandle, path, |fs| {
            inner(writer(fs)?.read(&mut [0]))
        }),
        case("read_at", BadHandle, path, |fs| {
            writer(fs)?.read_at(0, &mut [0]).map(drop)
        }),
        case("read_link", ErrorKind::InvalidArgument, path, move |fs| {
            fs.read_link(path).map(drop)
        }),
    ]);
}

#[test]
fn more_nodes_than_allowed() {
    let fs = FileSystem::builder()
        .max_nodes(3)
        .memory_limit(1 << 20)
        .spill(false)
        .build()
        .expect("a filesystem");
    fs.write("/a", &b"x"[..]).expect("the second node");
    fs.create_dir("/b").expect("the third node");
    snapshot(&fs);
    let before = snapshot(&fs);
    let results = [
        fs.write("/c", vec![1; 5000]),
        fs.create_dir("/c"),
        fs.create_dir_all("/b/c/d"),
        fs.symlink("a", "/c"),
        fs.copy("/a", "/c").map(drop),
        fs.copy_dir_all("/b", "/c"),
        fs.touch("/c"),
        fs.create("/c").map(drop),
    ];
    for result in results {
        let error = result.expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::NodeLimit, "{error}");
        assert_eq!(error.errno(), libc::ENOSPC);
        assert_eq!(snapshot(&fs), before, "{error}");
    }
    fs.hard_link("/a", "/c").expect("a name is no node");
}

#[test]
fn a_closed_filesystem() {
    let fs = tree();
    let mut file = fs.open("/dir/file").expect("a handle");
    fs.close().unwrap();
    assert!(fs.is_closed());
    for case in every_call(ErrorKind::Closed, b"/dir/file") {
        let error = (case.call)(&fs).expect_err(case.what);
        assert_eq!(error.kind(), ErrorKind::Closed, "{}: {error}", case.what);
    }
    let error = inner(file.read(&mut [0])).expect_err("the handle is closed too");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!fs.exists("/dir/file"));
}

fn reader(fs: &FileSystem) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .lock(LockMode::None)
        .open(fs, "/dir/file")
}

fn writer(fs: &FileSystem) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .lock(LockMode::None)
        .open(fs, "/dir/file")
}

fn seek(fs: &FileSystem, to: SeekFrom) -> Result<(), Error> {
    inner(reader(fs)?.seek(to))
}

/// The brimfs error inside of what a standard trait answers.
fn inner<T>(result: std::io::Result<T>) -> Result<(), Error> {
    result.map(drop).map_err(|error| {
        error
            .downcast::<Error>()
            .expect("the traits hand out our own errors")
    })
}
