//! The guides in docs/, followed to the letter: their files are written, their commands run, and what they print is compared.
//!
//! The crates come from this checkout instead of a registry. All builds share one target folder below the workspace's.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use catga_tests::docs::{Block, Step, blocks, is_as_written, run, shell, steps};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// Where the guides' programs are built: not where the workspace is, as cargo would take one for the other.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let debug = test.ancestors().nth(2).expect("tests are in target/debug/deps");
    debug.parent().expect("debug is in target").join("guides")
}

/// A reader who follows a guide in a folder of his own.
struct Reader {
    folder: PathBuf,
    /// What listens in the background, and where: on a free port instead of 5000.
    server: Option<(Child, String)>,
}

impl Reader {
    fn follow(&mut self, block: &Block) {
        if let Some(file) = block.value("file") {
            let path = self.folder.join(file);
            fs::create_dir_all(path.parent().expect("files are in the folder")).expect("a folder");
            fs::write(path, &block.text).expect("the file can be written");
        } else if let Some(file) = block.value("add") {
            let path = self.folder.join(file);
            let before = fs::read_to_string(&path).expect("there is something to add to");
            fs::write(path, before + &block.text).expect("the file can be written");
        } else if block.is("console") {
            steps(&block.text).iter().for_each(|step| self.try_out(block, step));
        }
    }

    fn try_out(&mut self, block: &Block, step: &Step) {
        if let Some(command) = step.command.strip_suffix(" &") {
            return self.serve(block, command, &step.output);
        }
        if step.command == "kill %1" {
            return self.stop();
        }
        let address = self.server.as_ref().map_or("localhost:5000", |(_, address)| address);
        let command = step.command.replace("localhost:5000", address);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut printed = run(&command, &self.folder, &target());
        // Effects come a little later than the answers.
        while looks_only(&command)
            && !is_as_written(&step.output, &printed)
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(50));
            printed = run(&command, &self.folder, &target());
        }
        assert!(
            is_as_written(&step.output, &printed),
            "the session at line {}:\n$ {}\nis to print\n{}\nand prints\n{printed}",
            block.line,
            step.command,
            step.output,
        );
    }

    /// Starts what goes on in the background, and waits until it listens and has said what it is to say.
    fn serve(&mut self, block: &Block, command: &str, output: &str) {
        let built = run("cargo build --quiet", &self.folder, &target());
        assert_eq!(built, "", "it compiles");
        // The flags of `cargo run` end at `--`.
        let separator = if command.contains(" -- ") { "" } else { " --" };
        let mut child =
            shell(&format!("exec {command}{separator} --port 0"), &self.folder, &target())
                .stdout(Stdio::piped())
                .spawn()
                .expect("bash runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut printed = String::new();
        for _ in 0..output.lines().count().max(1) {
            stdout.read_line(&mut printed).expect("a line");
        }
        let address = printed.lines().next().expect("a line").strip_prefix("listening on http://");
        let address = address.expect("it listens").to_owned();
        let printed = printed.replace(&address, "127.0.0.1:5000");
        self.server = Some((child, address));
        assert!(
            output.is_empty() || is_as_written(output, &printed),
            "the server at line {} is to print\n{output}\nand prints\n{printed}",
            block.line,
        );
    }

    fn stop(&mut self) {
        let Some((mut child, _)) = self.server.take() else { return };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait().expect("it can be waited for").is_none() {
            assert!(Instant::now() < deadline, "it stops");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.server {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a command changes nothing, so that it can be run until it prints what it is to print.
fn looks_only(command: &str) -> bool {
    let changes = [" -X", " -d", " -H", "|", ">"];
    command.starts_with("cat ")
        || command.starts_with("curl -s ") && !changes.iter().any(|change| command.contains(change))
}

/// `docs/your-own-service.md`, from `cargo new` to a service over HTTP.
#[test]
fn your_own_service() {
    let guide = fs::read_to_string(root().join("docs/your-own-service.md")).expect("the guide");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let new = run("cargo new --quiet --vcs none shop", folder.path(), &target());
    assert_eq!(new, "", "a new program");
    let mut reader = Reader { folder: folder.path().join("shop"), server: None };
    // What is not on a registry yet comes from here.
    let patch = ["catga", "catga-axum", "catga-macros"]
        .map(|name| format!("{name} = {{ path = {:?} }}\n", root().join(name)));
    let config = format!("[patch.crates-io]\n{}", patch.concat());
    fs::create_dir_all(reader.folder.join(".cargo")).expect("a folder can be made");
    fs::write(reader.folder.join(".cargo/config.toml"), config).expect("a file can be written");
    // The same versions of all else as the workspace has.
    fs::copy(root().join("Cargo.lock"), reader.folder.join("Cargo.lock")).expect("a lock file");
    let blocks = blocks(&guide);
    assert!(blocks.iter().any(|block| block.value("file") == Some("src/main.rs")));
    blocks.iter().for_each(|block| reader.follow(block));
}

/// `docs/extend.md`: its patch applies to this very checkout, and what comes of it builds, passes its tests and serves.
#[test]
fn extend() {
    let guide = fs::read_to_string(root().join("docs/extend.md")).expect("the guide");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let copy = format!(
        "git -C {root:?} ls-files -z -co --exclude-standard | tar -C {root:?} --null -T - -c | tar -x",
        root = root()
    );
    assert_eq!(run(&copy, folder.path(), &target()), "", "the checkout is copied");
    let blocks = blocks(&guide);
    let patches: Vec<_> = blocks.iter().filter(|block| block.is("diff")).collect();
    assert_eq!(patches.len(), 1, "the guide has one patch");
    fs::write(folder.path().join("extend.patch"), &patches[0].text).expect("a file");
    let mut reader = Reader { folder: folder.path().to_owned(), server: None };
    blocks.iter().filter(|block| block.is("console")).for_each(|block| reader.follow(block));
}
