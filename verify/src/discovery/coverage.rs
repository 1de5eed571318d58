//! Which of the listed rules were checked: by a route of the file, by themselves, by a link that was
//! followed, or by a form. The difference is what nobody looked at.

use serde::Serialize;

use super::Rule;
use crate::checks::Discover;

/// Everything that was asked, as far as it answered.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    /// Method and path of each route of the file that was asked.
    pub(crate) routes: Vec<(&'a str, &'a str)>,
    /// Paths that the crawl was answered.
    pub(crate) links: Vec<&'a str>,
    /// Method and path of each form whose action is there.
    pub(crate) forms: Vec<(&'a str, &'a str)>,
}

/// How the rules stand to the checks.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Coverage {
    pub(crate) rules: usize,
    pub(crate) by_routes: usize,
    pub(crate) by_links: usize,
    pub(crate) by_forms: usize,
    pub(crate) excused: usize,
    pub(crate) unchecked: Vec<String>,
}

impl Coverage {
    pub(crate) fn of(rules: &[Rule], discover: &Discover, seen: &Seen<'_>) -> Self {
        let mut coverage = Self { rules: rules.len(), ..Self::default() };
        for rule in rules {
            let asked = |list: &[(&str, &str)]| {
                list.iter().any(|(method, path)| rule.answers(method) && rule.means(path))
            };
            if discover.excuses(&rule.text) {
                coverage.excused += 1;
            } else if asked(&seen.routes) {
                coverage.by_routes += 1;
            } else if rule.answers("GET") && seen.links.iter().any(|path| rule.means(path)) {
                coverage.by_links += 1;
            } else if asked(&seen.forms) {
                coverage.by_forms += 1;
            } else {
                coverage.unchecked.push(name(rule));
            }
        }
        coverage
    }
}

/// As a route of the file would be written.
fn name(rule: &Rule) -> String {
    if rule.answers("GET") {
        return rule.text.clone();
    }
    let method = rule.methods.iter().find(|method| !matches!(method.as_str(), "HEAD" | "OPTIONS"));
    format!("{} {}", method.or(rule.methods.first()).map_or("", String::as_str), rule.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_is_left_over() {
        let rule = |text: &str, method: &str| Rule::read(text, &[method, "OPTIONS"]).unwrap();
        let rules = [
            rule("/", "GET"),
            rule("/doc/<name>/", "GET"),
            rule("/login/", "POST"),
            rule("/doc/<name>/comment", "POST"),
            rule("/admin/<id>", "GET"),
            rule("/api/<id>", "DELETE"),
            rule("/forgotten/<id>", "GET"),
        ];
        let discover: Discover = toml::from_str("excuse = [\"/admin/*\"]").unwrap();
        let seen = Seen {
            routes: vec![("GET", "/"), ("POST", "/login/"), ("GET", "/api/7")],
            links: vec!["/doc/a/", "/doc/a/comment"],
            forms: vec![("POST", "/doc/a/comment")],
        };
        let coverage = Coverage::of(&rules, &discover, &seen);
        assert_eq!(
            coverage,
            Coverage {
                rules: 7,
                by_routes: 2,
                by_links: 1,
                by_forms: 1,
                excused: 1,
                unchecked: vec!["DELETE /api/<id>".into(), "/forgotten/<id>".into()]
            }
        );
    }
}
