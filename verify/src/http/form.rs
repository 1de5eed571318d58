//! The form of a page: its hidden inputs, which carry the token against forged requests, and the
//! encoding of what is sent.

use reqwest::Url;
use scraper::{ElementRef, Selector};

use super::Document;

/// What a page has for a POST to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// A form that posts there: its hidden inputs, and the fields that it lacks.
    Fits { hidden: Vec<(String, String)>, lacking: Vec<String> },
    /// Forms, but none that posts there: their actions.
    Other(Vec<String>),
    /// No form at all.
    None,
}

/// Looks for the form that posts from `page` to `target` and has most of `fields`.
pub(crate) fn find_form(html: &str, page: &Url, target: &Url, fields: &[&str]) -> Form {
    let document = Document::read(html).tree;
    let forms: Vec<_> = select(document.root_element(), "form").collect();
    let fitting = forms.iter().filter(|form| posts_to(form, page, target));
    let best = fitting.min_by_key(|form| lacking(form, fields).len());
    match best {
        Some(form) => Form::Fits { hidden: hidden(form), lacking: lacking(form, fields) },
        None if forms.is_empty() => Form::None,
        None => Form::Other(forms.iter().map(|form| action(form).to_owned()).collect()),
    }
}

/// A form with all that would be sent of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    /// In upper case.
    pub(crate) method: String,
    /// As written.
    pub(crate) action: String,
    /// What `<base href>` of its page says.
    pub(crate) base: Option<String>,
    pub(crate) fields: Vec<(String, String)>,
    /// Fields that were to be filled in and are not there.
    pub(crate) lacking: Vec<String>,
}

/// Fills in the form of that id or name, or the only one of a page.
///
/// # Errors
/// The labels of the forms that are there.
pub(crate) fn fill_form(
    html: &str,
    label: Option<&str>,
    own: &[(&str, &str)],
) -> Result<Filled, Vec<String>> {
    let document = Document::read(html).tree;
    let root = document.root_element();
    let forms: Vec<_> = select(root, "form").collect();
    let called =
        |form: &&ElementRef<'_>| label.is_some() && (form.attr("id") == label || form.attr("name") == label);
    let form = match (label, forms.as_slice()) {
        (None, [only]) => Some(only),
        _ => forms.iter().find(called),
    };
    let Some(form) = form else {
        let names =
            forms.iter().map(|form| form.attr("id").or(form.attr("name")).unwrap_or("(without a name)"));
        return Err(names.map(str::to_owned).collect());
    };
    let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
    let kept = filled_in(form).into_iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let fields = kept.chain(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(Filled {
        method: form.attr("method").filter(|method| !method.is_empty()).unwrap_or("get").to_ascii_uppercase(),
        action: action(form).to_owned(),
        base: select(root, "base[href]").next().and_then(|base| base.attr("href")).map(str::to_owned),
        fields: fields.collect(),
        lacking: lacking(form, &names),
    })
}

/// What a browser would send of a form that nobody touched, without its buttons.
fn filled_in(form: &ElementRef<'_>) -> Vec<(String, String)> {
    let inputs = select(*form, "input[name], select[name], textarea[name]");
    inputs
        .filter_map(|input| {
            let attribute = |name| input.attr(name).unwrap_or_default();
            let value = match (input.value().name(), attribute("type").to_ascii_lowercase().as_str()) {
                ("textarea", _) => input.text().collect(),
                ("select", _) => chosen(&input)?,
                (_, "submit" | "button" | "image" | "reset" | "file") => return None,
                (_, "checkbox" | "radio") => {
                    input.attr("checked")?;
                    input.attr("value").unwrap_or("on").to_owned()
                }
                _ => attribute("value").to_owned(),
            };
            Some((attribute("name").to_owned(), value))
        })
        .collect()
}

/// The option that is selected, or else the first.
fn chosen(list: &ElementRef<'_>) -> Option<String> {
    let option = select(*list, "option[selected]").next().or_else(|| select(*list, "option").next())?;
    Some(option.attr("value").map_or_else(|| option.text().collect(), str::to_owned))
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

fn posts_to(form: &ElementRef<'_>, page: &Url, target: &Url) -> bool {
    let posts = form.attr("method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
    let resolved = if action(form).is_empty() { Ok(page.clone()) } else { page.join(action(form)) };
    posts && resolved.is_ok_and(|url| url.path() == target.path())
}

fn action<'a>(form: &ElementRef<'a>) -> &'a str {
    form.attr("action").unwrap_or_default().trim()
}

fn hidden(form: &ElementRef<'_>) -> Vec<(String, String)> {
    select(*form, "input[type=hidden i][name]")
        .map(|input| {
            let attribute = |name| input.attr(name).unwrap_or_default().to_owned();
            (attribute("name"), attribute("value"))
        })
        .collect()
}

fn lacking(form: &ElementRef<'_>, fields: &[&str]) -> Vec<String> {
    let names: Vec<_> = select(*form, "[name]").filter_map(|input| input.attr("name")).collect();
    fields.iter().filter(|field| !names.contains(field)).map(|field| (*field).to_owned()).collect()
}

/// The elements below one that match.
pub(crate) fn select<'a>(element: ElementRef<'a>, selector: &str) -> impl Iterator<Item = ElementRef<'a>> {
    let found: Vec<_> =
        Selector::parse(selector).map(|selector| element.select(&selector).collect()).unwrap_or_default();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(html: &str, fields: &[&str]) -> Form {
        let page = Url::parse("http://127.0.0.1:1/login/?next=/x").unwrap();
        find_form(html, &page, &Url::parse("http://127.0.0.1:1/login/").unwrap(), fields)
    }

    #[test]
    fn the_form_whose_action_and_fields_fit_is_taken() {
        let html = "<form action=/search><input name=q></form>
            <form method=POST action='/login/'><input type=hidden name=token value=wrong><input name=phone></form>
            <form method=post action='/login/?a=1'><input type=HIDDEN name=token value='a&amp;b'><input name=user></form>";
        let hidden = vec![("token".to_owned(), "a&b".to_owned())];
        assert_eq!(look(html, &["user"]), Form::Fits { hidden, lacking: vec![] });
        let own = "<form method=post><input name=user></form>";
        let fits = Form::Fits { hidden: vec![], lacking: vec!["password".into()] };
        assert_eq!(look(own, &["user", "password"]), fits);
    }

    #[test]
    fn a_page_without_it_says_what_it_has() {
        assert_eq!(look("<form method=post action=/other>", &[]), Form::Other(vec!["/other".into()]));
        assert_eq!(look("<form action=/login/>", &[]), Form::Other(vec!["/login/".into()]));
        assert_eq!(look("<p>", &[]), Form::None);
    }

    #[test]
    fn a_form_is_filled_in_as_a_browser_leaves_it() {
        let html = "<base href=/b/><form id=a></form><form name=n method=post action=x>
            <input type=hidden name=token value=7><input name=user value=old><input name=go type=submit value=Go>
            <input type=checkbox name=c checked><input type=checkbox name=d><textarea name=t>text</textarea>
            <select name=s><option value=1>one<option selected>two</select></form>";
        let filled = fill_form(html, Some("n"), &[("user", "me"), ("none", "")]).unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let kept = [field("token", "7"), field("c", "on"), field("t", "text"), field("s", "two")];
        assert_eq!(filled.fields, [&kept[..], &[field("user", "me"), field("none", "")]].concat());
        assert_eq!((filled.method.as_str(), filled.action.as_str()), ("POST", "x"));
        assert_eq!((filled.lacking, filled.base.as_deref()), (vec!["none".to_owned()], Some("/b/")));
        assert_eq!(fill_form(html, None, &[]).unwrap_err(), ["a", "n"]);
        assert_eq!(fill_form(html, Some("z"), &[]).unwrap_err(), ["a", "n"]);
        assert_eq!(fill_form("<form></form>", None, &[]).unwrap().method, "GET");
    }

    #[test]
    fn fields_are_encoded() {
        assert_eq!(encode([("a b", "ü&="), ("c", "")].into_iter()), "a+b=%C3%BC%26%3D&c=");
    }
}
