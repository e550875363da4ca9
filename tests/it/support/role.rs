//! Roles with few rights.
#![allow(dead_code)]

use super::postgres::{Database, unique};

/// The password of these roles.
const PASSWORD: &str = "hunter2";
/// What one may be changed to.
const CHANGED_PASSWORD: &str = "hunter2-changed";

/// A role without rights, on the server that all tests share; it is dropped with the database.
pub struct Role<'a> {
    pub name: String,
    database: &'a Database,
}

impl<'a> Role<'a> {
    pub fn new(database: &'a Database, attributes: &str) -> Role<'a> {
        let name = unique("Role");
        database.execute(&format!(
            "CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}' {attributes}"
        ));
        Role { name, database }
    }

    pub fn url(&self) -> String {
        self.url_with(PASSWORD)
    }

    /// The URL with the password that [`Role::change_password`] sets.
    pub fn changed_url(&self) -> String {
        self.url_with(CHANGED_PASSWORD)
    }

    pub fn change_password(&self) {
        self.set_password(CHANGED_PASSWORD);
    }

    /// Sets the password that the role had at first.
    pub fn restore_password(&self) {
        self.set_password(PASSWORD);
    }

    fn set_password(&self, password: &str) {
        let name = &self.name;
        self.database
            .execute(&format!("ALTER ROLE \"{name}\" PASSWORD '{password}'"));
    }

    fn url_with(&self, password: &str) -> String {
        let server = self.database.url();
        let (_, place) = server.rsplit_once('@').expect("a URL with a user");
        format!("postgres://{}:{password}@{place}", self.name)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self.database.try_execute(&format!(
            "DROP OWNED BY \"{name}\" CASCADE; DROP ROLE \"{name}\""
        ));
    }
}
