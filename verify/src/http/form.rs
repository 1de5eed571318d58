//! The form of a page: its hidden inputs, which carry the token against forged requests, and the
//! encoding of what is sent.

use reqwest::Url;
use scraper::{ElementRef, Html, Selector};

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
    let document = Html::parse_document(html);
    let forms: Vec<_> = select(document.root_element(), "form").collect();
    let fitting = forms.iter().filter(|form| posts_to(form, page, target));
    let best = fitting.min_by_key(|form| lacking(form, fields).len());
    match best {
        Some(form) => Form::Fits { hidden: hidden(form), lacking: lacking(form, fields) },
        None if forms.is_empty() => Form::None,
        None => Form::Other(forms.iter().map(|form| action(form).to_owned()).collect()),
    }
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
    fn fields_are_encoded() {
        assert_eq!(encode([("a b", "ü&="), ("c", "")].into_iter()), "a+b=%C3%BC%26%3D&c=");
    }
}
