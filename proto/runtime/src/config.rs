//! Reads a configuration file and says what is wrong with it, for both programs.

use proto::document::Problem;
use proto::yaml::FILE_MAX_BYTES;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The configuration that `read` makes of the file's text (`""` where no file is given). Each problem is a line:
/// `FILE:LINE:COLUMN: what`, or just `what` where it has no place.
pub fn load<C>(path: Option<&Path>, read: impl FnOnce(&str) -> Result<C, Vec<Problem>>) -> Result<C, Vec<String>> {
    let Some(path) = path else { return read("").map_err(|problems| lines("", &problems)) };
    let name = path.display().to_string();
    let text = read_file(path)
        .map_err(|error| vec![format!("cannot read the configuration {name}: {error}; is --config right?")])?;
    read(&text).map_err(|problems| lines(&name, &problems))
}

/// No more of it than a configuration may have is read: the path may be that of a disk.
fn read_file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn lines(name: &str, problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| match problem.place {
        None => problem.message.clone(),
        Some(_) => format!("{name}:{problem}"),
    };
    problems.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_named_with_its_file_and_place() {
        let placed = Problem { place: Some((3, 7)), message: "no".into() };
        let bare = Problem { place: None, message: "not set".into() };
        assert_eq!(lines("a.yaml", &[placed, bare]), ["a.yaml:3:7: no", "not set"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let problems = load(Some(Path::new("/nowhere/agent.yaml")), |_| Ok(())).unwrap_err();
        assert!(problems[0].contains("/nowhere/agent.yaml"), "{problems:?}");
        assert_eq!(load(None, |text| Ok(text.len())), Ok(0));
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let problems = load(Some(Path::new("/dev/zero")), |_| Ok(())).unwrap_err();
        assert!(problems[0].contains("/dev/zero: it has more than 1048576 bytes"), "{problems:?}");
    }
}
