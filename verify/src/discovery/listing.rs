//! What a command printed: the table of `flask routes`, JSON, or one route a line.

use serde_json::Value;

use super::rule::Rule;

/// The rules in a command's output; other lines are passed over.
pub(super) fn read(output: &str) -> Vec<Rule> {
    if let Some(rules) = serde_json::from_str(output.trim()).ok().map(|value: Value| of_json(&value)) {
        return rules;
    }
    of_table(output).unwrap_or_else(|| output.lines().filter_map(of_line).collect())
}

/// A list of paths or of objects with `rule`, `path` or `url` and `methods`, also below `routes`.
fn of_json(value: &Value) -> Vec<Rule> {
    let list = value.as_array().or_else(|| value.get("routes")?.as_array());
    list.into_iter().flatten().filter_map(of_entry).collect()
}

fn of_entry(entry: &Value) -> Option<Rule> {
    let path = ["rule", "path", "url"].iter().find_map(|name| entry.get(name)?.as_str()).or(entry.as_str())?;
    let methods: Vec<&str> = match entry.get("methods").or(entry.get("method")) {
        Some(Value::String(text)) => split_methods(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    Rule::read(path, &methods)
}

/// Columns under a line of dashes that shows how wide they are.
fn of_table(output: &str) -> Option<Vec<Rule>> {
    let lines: Vec<&str> = output.lines().collect();
    let dashes = lines.iter().position(|line| is_ruler(line)).filter(|at| *at > 0)?;
    let columns = columns(lines[dashes]);
    let titles: Vec<&str> = columns.iter().map(|column| cell(lines[dashes - 1], *column)).collect();
    let column =
        |name: &str| Some(columns[titles.iter().position(|title| title.eq_ignore_ascii_case(name))?]);
    let (rule, methods) = (column("rule")?, column("methods"));
    let read = |line: &&str| {
        let methods = methods.map_or("", |column| cell(line, column));
        Rule::read(cell(line, rule), &split_methods(methods))
    };
    Some(lines[dashes + 1..].iter().filter_map(read).collect())
}

fn is_ruler(line: &str) -> bool {
    line.contains("--") && line.chars().all(|c| c == '-' || c == ' ')
}

/// Beginning of each column, and of the next one.
fn columns(ruler: &str) -> Vec<(usize, usize)> {
    let begins = |at: usize| ruler[at..].starts_with('-') && (at == 0 || ruler[..at].ends_with(' '));
    let starts: Vec<usize> = (0..ruler.len()).filter(|at| begins(*at)).collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    starts.iter().copied().zip(ends).collect()
}

fn cell(line: &str, (start, end): (usize, usize)) -> &str {
    line.get(start..end.min(line.len())).unwrap_or_default().trim()
}

/// `/path`, or methods and a path: `GET,POST /path`.
fn of_line(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first.starts_with('/') {
        return Rule::read(first, &[]);
    }
    let methods = split_methods(first);
    let are_methods = methods.iter().all(|method| method.chars().all(|c| c.is_ascii_uppercase()));
    Rule::read(words.next().filter(|_| are_methods)?, &methods)
}

fn split_methods(text: &str) -> Vec<&str> {
    text.split([',', '|', ' ']).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: &str) -> Vec<String> {
        read(output).into_iter().map(|rule| format!("{} {}", rule.methods.join(","), rule.text)).collect()
    }

    #[test]
    fn the_table_of_flask_is_read_in_any_order_of_its_columns() {
        let table = "warning: something\n\
            Endpoint          Methods    Rule\n\
            ----------------  ---------  -----------------------\n\
            auth.login        GET, POST  /login/\n\
            documents.detail  GET        /doc/<name>/\n\
            static            GET        /static/<path:filename>\n";
        let rules = ["GET,POST /login/", "GET /doc/<name>/", "GET /static/<path:filename>"];
        assert_eq!(told(table), rules);
        let other = "Rule   Methods  Endpoint\n-----  -------  --------\n/x/    POST     x\n";
        assert_eq!(told(other), ["POST /x/"]);
    }

    #[test]
    fn json_and_lines_are_read() {
        assert_eq!(told(r#"[{"rule": "/a", "methods": ["GET", "HEAD"]}, "/b", 7]"#), ["GET,HEAD /a", " /b"]);
        assert_eq!(told(r#"{"routes": [{"path": "/c/{id}", "method": "post"}]}"#), ["POST /c/<id>"]);
        assert_eq!(told("/a\nGET|HEAD /b extra\n\nsome words here\nGET no\n"), [" /a", "GET,HEAD /b"]);
        assert_eq!(told(""), [""; 0]);
    }
}
