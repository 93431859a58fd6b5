//! What statements show that take no privilege: to an account that holds little, and to a principal that holds the
//! same, whose session is the service account's, or an account of its own, as is the default.

use super::ground::{Ground, Sessions};
use super::wire::Session;
use crate::support::{Product, products_available};

/// A statement, and why it shows more or something else through the proxy; without a reason it shows the same.
fn statements() -> Vec<(&'static str, Option<&'static str>)> {
    let lines = include_str!("shown.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(" => ") {
            Some((text, why)) => (text.trim(), Some(why.trim())),
            None => (line.trim(), None),
        })
        .collect()
}

fn sorted(session: &mut Session, text: &str) -> Result<Vec<Vec<Option<String>>>, &'static str> {
    let mut rows = session.rows(text).map_err(|_| "refused")?;
    rows.sort();
    Ok(rows)
}

/// Who somebody is, the server says of an account of the principal's own, too.
const OWN_NAME: &str = "the service account";

fn compare(product: Product, sessions: Sessions) {
    let held =
        [("SELECT (a, b)", "shop.t1"), ("SELECT", "shop.one"), ("EXECUTE", "FUNCTION shop.f")];
    let ground = Ground::narrow(product, sessions, &held);
    let party = &ground.parties[0];
    let (mut direct, mut proxied) = (ground.direct(party), ground.proxied(party));
    let mut wrong = Vec::new();
    let mut differ = 0;
    for (text, why) in statements() {
        let (server, shown) = (sorted(&mut direct, text), sorted(&mut proxied, text));
        differ += usize::from(server != shown);
        let expected = match sessions {
            Sessions::Service => why.is_some(),
            Sessions::Own => why == Some(OWN_NAME),
        };
        if (server != shown) != expected {
            wrong.push(format!(
                "{text}\n    the server: {server:.300?}\n    the proxy: {shown:.300?}"
            ));
        }
    }
    let name = format!("{product:?}, {sessions:?}");
    println!("{name}: {differ} of {} statements show something else", statements().len());
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_shown_beyond_the_callers_rights_is_listed() {
    for product in products_available() {
        compare(product, Sessions::Service);
    }
}

#[test]
fn an_account_of_its_own_is_shown_what_any_account_is() {
    for product in products_available() {
        compare(product, Sessions::Own);
    }
}
