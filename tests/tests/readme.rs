//! The README's sessions, run and compared.

use std::path::Path;

use catga_tests::{
    Server, binary,
    docs::{blocks, is_as_written, run, steps},
};

/// Every `console` block of the README: those that talk to port 5000 talk to a server of this test's own.
#[tokio::test]
async fn its_sessions_print_what_they_show() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("there is a README");
    let server = Server::start(&[]).await;
    let address = server.url.strip_prefix("http://").expect("it is a URL");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = binary();
    let programs = path.parent().expect("the program is in a folder").display();
    let sessions: Vec<_> =
        blocks(&readme).into_iter().filter(|block| block.is("console")).collect();
    assert!(!sessions.is_empty(), "the README shows a session");
    for block in sessions {
        for step in steps(&block.text) {
            let command = step.command.replace("localhost:5000", address);
            let printed =
                run(&format!("PATH={programs}:$PATH; {command}"), folder.path(), folder.path());
            assert!(
                is_as_written(&step.output, &printed),
                "README.md, session at line {}:\n$ {}\nis to print\n{}\nand prints\n{printed}",
                block.line,
                step.command,
                step.output,
            );
        }
    }
}
