//! A config file and a database URL: whatever is wrong is told without the password.

use postgres_source::config::File;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::Environment;

/// A part of the input in place of a password, as it stands in a URL.
const IN_URL: &str = ":hunter2@";
const PASSWORD: &str = "hunter2";

/// The first byte says which of both it is.
pub fn config(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match kind % 2 {
        0 => file(text),
        _ => url(text),
    }
}

fn file(text: &str) {
    match File::parse(text) {
        Ok(file) => {
            let _ = file.topic();
            let shown = format!("{file:?}");
            let is_known = file
                .database_url()
                .is_some_and(|url| url.expose().contains(IN_URL));
            let elsewhere = text.matches(PASSWORD).count() > 1;
            assert!(
                !is_known || elsewhere || !shown.contains(PASSWORD),
                "{shown}"
            );
        }
        Err(error) => assert!(!error.to_string().contains(IN_URL), "{error}"),
    }
}

fn url(text: &str) {
    // Without a home there is no file of passwords, so only the URL has one.
    match ConnectParams::parse_in(text, "fuzz", &Environment::of(&[])) {
        Ok(params) => {
            assert!(!params.user().is_empty());
            let mut is_known = false;
            for endpoint in params.endpoints() {
                let _ = endpoint.to_string();
                let password = params.password(endpoint).ok().flatten();
                is_known |= password.is_some_and(|known| known.expose() == PASSWORD.as_bytes());
            }
            let elsewhere = text.matches(PASSWORD).count() > 1;
            let shown = format!("{params:?}");
            assert!(
                !is_known || elsewhere || !shown.contains(PASSWORD),
                "{shown}"
            );
        }
        Err(error) => assert!(!error.to_string().contains(PASSWORD), "{error}"),
    }
}
