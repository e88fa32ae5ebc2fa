//! Reads a configuration file and says what is wrong with it, for both programs.

use proto::document::Problem;
use std::fs;
use std::path::Path;

/// The configuration that `read` makes of the file's text (`""` where no file is given). Each problem is a line:
/// `FILE:LINE:COLUMN: what`, or just `what` where it has no place.
pub fn load<C>(path: Option<&Path>, read: impl FnOnce(&str) -> Result<C, Vec<Problem>>) -> Result<C, Vec<String>> {
    let Some(path) = path else { return read("").map_err(|problems| lines("", &problems)) };
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| vec![format!("cannot read the configuration {name}: {error}; is --config right?")])?;
    read(&text).map_err(|problems| lines(&name, &problems))
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
}
