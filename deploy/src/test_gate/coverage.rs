//! The coverage threshold of the test gate: the line rate of a Cobertura file that this very test run
//! wrote. What the revision or its build had at that place is set aside while the tests run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::config::Coverage as Wanted;
use common::report::{OrProblem, Problem, quoted};
use serde::Serialize;

use super::document::{self, Element, Part};

/// How many files are named.
const NAMED: usize = 10;

/// What the tests covered.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Coverage {
    /// Of all lines, rounded down to hundredths.
    percent: f64,
    minimum: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_covered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_valid: Option<u64>,
    /// The files with the most lines that no test reached.
    worst: Vec<Covered>,
}

/// One file of the app.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Covered {
    file: String,
    percent: f64,
    /// Lines that no test reached.
    missed: u64,
}

/// The place where the tests must write.
pub(super) struct Place {
    path: PathBuf,
    wanted: Wanted,
    aside: PathBuf,
}

impl Place {
    /// Sets aside what stands at the place, below `scratch`.
    ///
    /// # Errors
    /// `coverage-unreadable`: it lies behind a link, or cannot be set aside.
    pub(super) fn clear(dir: &Path, wanted: &Wanted, scratch: &Path) -> Result<Self, Problem> {
        let place = Self {
            path: dir.join(&wanted.file),
            wanted: wanted.clone(),
            aside: scratch.join("coverage-of-the-revision"),
        };
        let linked =
            wanted.file.ancestors().map(|part| dir.join(part)).find(|part| part != dir && part.is_symlink());
        if let Some(link) = linked {
            return Err(place.unreadable(&format!("{} is a link", link.display())));
        }
        if place.path.exists() {
            fs::copy(&place.path, &place.aside)
                .and_then(|_| fs::remove_file(&place.path))
                .map_err(|error| place.unreadable(&error.to_string()))?;
        }
        Ok(place)
    }

    /// Puts back what stood there, so that the release is as it was built.
    ///
    /// # Errors
    /// `release-changed`.
    pub(super) fn put_back(&self) -> Result<(), Problem> {
        if !self.aside.exists() {
            return Ok(());
        }
        fs::copy(&self.aside, &self.path)
            .map(drop)
            .or_problem("release-changed", || format!("cannot put {} back", self.path.display()))
            .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(self.path.display()))))
    }

    /// What the tests measured.
    ///
    /// # Errors
    /// `coverage-missing`, `coverage-unreadable`.
    pub(super) fn read(&self) -> Result<Coverage, Problem> {
        let name = self.wanted.file.display();
        let file = document::open(&self.path).map_err(|why| self.unreadable(&why))?.ok_or_else(|| {
            Problem::new("coverage-missing", format!("the tests did not write {name}"))
                .detail("app.coverage.file names a Cobertura file, seen from the release directory; an earlier one does not count")
                .hint("deploy dev   # after letting app.test write it, such as: pytest --cov --cov-report=xml")
        })?;
        read(file, self.wanted.minimum).map_err(|why| self.unreadable(&why))
    }

    fn unreadable(&self, why: &str) -> Problem {
        Problem::new(
            "coverage-unreadable",
            format!("the coverage file {} cannot be used", self.wanted.file.display()),
        )
        .detail(why.to_owned())
        .hint(format!("git ls-files --stage -- {}", quoted(self.wanted.file.display())))
    }
}

impl Coverage {
    /// # Errors
    /// `coverage-too-low`, naming the files with the most lines missed.
    pub(super) fn judge(&self) -> Result<(), Problem> {
        let title = match self.lines_valid {
            Some(0) => "the tests measured the coverage of no line".to_owned(),
            _ if self.reaches() => return Ok(()),
            _ => format!(
                "the tests cover {} % of the lines, and {} % are required",
                self.percent, self.minimum
            ),
        };
        let worst: Vec<String> = self
            .worst
            .iter()
            .map(|found| format!("{}: {} %, {} lines missed", found.file, found.percent, found.missed))
            .collect();
        Err(Problem::new("coverage-too-low", title)
            .detail(worst.join("\n"))
            .hint("git log --stat -3   # what came in without tests"))
    }

    fn reaches(&self) -> bool {
        match (self.lines_covered, self.lines_valid) {
            (Some(covered), Some(valid)) => percent(covered, valid) >= self.minimum,
            _ => self.percent >= self.minimum,
        }
    }
}

fn read(file: File, minimum: f64) -> Result<Coverage, String> {
    let mut collector = Collector::default();
    document::walk(file, |part| collector.take(part))?;
    collector.finish(minimum)
}

#[derive(Default)]
struct Collector {
    root: Option<String>,
    rate: Option<f64>,
    covered: Option<u64>,
    valid: Option<u64>,
    class: Option<String>,
    in_method: bool,
    /// Covered and valid lines of each file.
    files: BTreeMap<String, (u64, u64)>,
}

impl Collector {
    fn take(&mut self, part: &Part<'_>) {
        match part {
            Part::Open(element) => self.open(element),
            Part::Close("class") => self.class = None,
            Part::Close("methods") => self.in_method = false,
            Part::Text(_) | Part::Close(_) => {}
        }
    }

    fn open(&mut self, element: &Element) {
        match element.name.as_str() {
            name if element.depth == 1 => {
                self.root = Some(name.to_owned());
                self.rate = element.number("line-rate");
                self.covered = element.number("lines-covered");
                self.valid = element.number("lines-valid");
            }
            "class" => self.class = element.get("filename").or(element.get("name")).map(str::to_owned),
            // The lines of a method stand once more below its class.
            "methods" => self.in_method = true,
            "line" if !self.in_method => {
                let Some(class) = &self.class else { return };
                let hit = element.number::<u64>("hits").is_some_and(|hits| hits > 0);
                let counts = self.files.entry(class.clone()).or_default();
                counts.0 += u64::from(hit);
                counts.1 += 1;
            }
            _ => {}
        }
    }

    fn finish(self, minimum: f64) -> Result<Coverage, String> {
        match self.root.as_deref() {
            Some("coverage") => {}
            other => return Err(format!("its root is <{}>, not <coverage>", other.unwrap_or_default())),
        }
        let counts = self.covered.zip(self.valid);
        let percent = match (counts, self.rate) {
            (Some((covered, valid)), _) => percent(covered, valid),
            // A rate such as 0.29 has no exact hundredfold.
            (None, Some(rate)) => (rate * 1e6).round() / 1e4,
            (None, None) => return Err("it names no line-rate".into()),
        };
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{percent} % is no line rate"));
        }
        Ok(Coverage {
            percent: rounded_down(percent),
            minimum,
            lines_covered: counts.map(|(covered, _)| covered),
            lines_valid: counts.map(|(_, valid)| valid),
            worst: worst(self.files),
        })
    }
}

fn worst(files: BTreeMap<String, (u64, u64)>) -> Vec<Covered> {
    let mut files: Vec<Covered> = files
        .into_iter()
        .filter(|(_, (covered, valid))| covered < valid)
        .map(|(file, (covered, valid))| Covered {
            file,
            percent: rounded_down(percent(covered, valid)),
            missed: valid - covered,
        })
        .collect();
    files.sort_by(|a, b| b.missed.cmp(&a.missed).then_with(|| a.file.cmp(&b.file)));
    files.truncate(NAMED);
    files
}

#[allow(clippy::cast_precision_loss)]
fn percent(covered: u64, valid: u64) -> f64 {
    if valid == 0 { 0.0 } else { covered as f64 * 100.0 / valid as f64 }
}

/// 79.996 must not read as 80.
fn rounded_down(percent: f64) -> f64 {
    (percent * 100.0 + 1e-6).floor() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str, minimum: f64) -> Result<Coverage, String> {
        let mut collector = Collector::default();
        document::walk(xml.as_bytes(), |part| collector.take(part))?;
        collector.finish(minimum)
    }

    const CLASSES: &str = "<packages><package><classes>
        <class name='a.py' filename='app/a.py' line-rate='0.5'><methods><method><lines><line number='1' hits='0'/></lines></method></methods>
        <lines><line number='1' hits='0'/><line number='2' hits='3'/></lines></class>
        <class name='b.py' filename='app/b.py'><methods/><lines><line number='1' hits='0'/><line number='2' hits='0'/>
        <line number='3' hits='1'/></lines></class>
        <class name='c.py' filename='app/c.py'><lines><line number='1' hits='1'/></lines></class></classes></package></packages>";

    #[test]
    fn the_worst_files_are_named_first() {
        let text = format!(
            "<!DOCTYPE coverage SYSTEM 'x.dtd'><coverage lines-covered='3' lines-valid='6'>{CLASSES}</coverage>"
        );
        let found = read(&text, 80.0).unwrap();
        let problem = found.judge().unwrap_err();
        assert_eq!(problem.kind, "coverage-too-low");
        assert_eq!(problem.title, "the tests cover 50 % of the lines, and 80 % are required");
        assert_eq!(
            problem.detail.unwrap(),
            "app/b.py: 33.33 %, 2 lines missed\napp/a.py: 50 %, 1 lines missed"
        );
    }

    #[test]
    fn a_threshold_is_met_exactly_and_never_by_rounding() {
        let of = |covered: u64, minimum| {
            read(&format!("<coverage lines-covered='{covered}' lines-valid='100000'/>"), minimum).unwrap()
        };
        assert!(of(80_000, 80.0).judge().is_ok());
        assert!(of(83_300, 83.3).judge().is_ok());
        let close = of(79_999, 80.0);
        assert!(close.judge().unwrap_err().title.contains("79.99 %"));
        // The counts decide, however the writer rounded its rate.
        assert!(
            read("<coverage line-rate='0.8' lines-covered='79999' lines-valid='100000'/>", 80.0)
                .unwrap()
                .judge()
                .is_err()
        );
        assert!(read("<coverage line-rate='0.29'/>", 29.0).unwrap().judge().is_ok());
        assert!(
            read("<coverage line-rate='1' lines-covered='0' lines-valid='0'/>", 0.0)
                .unwrap()
                .judge()
                .is_err()
        );
    }

    #[test]
    fn something_else_is_no_coverage_file() {
        for bad in [
            "<testsuites/>",
            "<coverage/>",
            "<coverage line-rate='NaN'/>",
            "<coverage line-rate='83'/>",
            "<coverage lines-covered='9' lines-valid='1'/>",
        ] {
            assert!(read(bad, 80.0).is_err(), "{bad}");
        }
    }
}
