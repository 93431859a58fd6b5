//! A server, and the proxy before it.

use crate::support::{
    Config, Daypass, Mysql, Output, Product, mysql_client, products_available, run,
};

/// Objects of every test; more are its own.
const SCHEMA: &str = "CREATE TABLE shop.orders (id INT PRIMARY KEY, status TEXT); \
    INSERT INTO shop.orders VALUES (1, 'open'), (2, 'paid'), (3, 'open'); \
    CREATE TABLE shop.customers (id INT PRIMARY KEY, email TEXT)";

/// Both of them.
pub struct House {
    /// Behind the proxy, root for service account.
    pub server: Mysql,
    /// With `shop` there as its database `crm`; without second lock, unless a test says otherwise.
    pub daypass: Daypass,
}

impl House {
    /// Starts them. `listener` has more lines for the listener.
    pub fn start(product: Product, listener: &str) -> Self {
        let server = Mysql::start(product);
        server.sql(SCHEMA);
        Self::before(server, listener, "second-lock = \"none\"\n")
    }

    /// Starts a proxy before a server. `database` has more lines for its entry.
    pub fn before(server: Mysql, listener: &str, database: &str) -> Self {
        let made = server.certificates();
        let tls = format!(
            "tls = {{ certificate-file = {:?}, key-file = {:?} }}\n{listener}",
            made.certificate, made.key
        );
        let entry =
            format!("name = \"crm\"\nengine = \"mysql\"\nprimary = \"{}\"\n", server.url("root"));
        let config = Config::new().mysql_listener("crm", &tls);
        let config = config.database(&format!("{entry}{database}"));
        Self { daypass: Daypass::start(config), server }
    }

    /// A token of somebody who may do that for an hour.
    pub fn principal(&self, user: &str, privileges: &[&str]) -> String {
        self.daypass.grant(user, "crm", privileges);
        self.daypass.token(user)
    }

    /// Runs SQL through a command line, as somebody with a token, in the schema `shop`.
    pub fn cli(
        &self,
        client: Product,
        (user, token): (&str, &str),
        sql: &str,
        tls: bool,
    ) -> Output {
        let mut command = mysql_client(client);
        command.args(["-h", "127.0.0.1", "-u", user, "--batch", "--skip-column-names"]);
        command.args([format!("-P{}", self.daypass.mysql_port()), format!("-p{token}")]);
        if tls {
            command.arg(format!("--ssl-ca={}", self.server.certificates().ca.display()));
            command.arg(match client {
                Product::MariaDb => "--ssl-verify-server-cert",
                Product::Mysql => "--ssl-mode=VERIFY_IDENTITY",
            });
        } else {
            command.arg(match client {
                Product::MariaDb => "--skip-ssl",
                Product::Mysql => "--ssl-mode=DISABLED",
            });
        }
        run(command.args(["shop", "-e", sql]), "")
    }

    /// What a script needs to log in, and more.
    pub fn environment<'a>(
        &self,
        token: &'a str,
        more: &[(&'static str, &'a str)],
    ) -> Vec<(&'static str, String)> {
        let ca = self.server.certificates().ca.display().to_string();
        let port = self.daypass.mysql_port().to_string();
        let mut env = vec![("PORT", port), ("TOKEN", token.to_owned()), ("CA", ca)];
        env.extend(more.iter().map(|&(name, value)| (name, value.to_owned())));
        env
    }
}

/// Runs a test on both products.
pub fn both(test: impl Fn(&House)) {
    for product in products_available() {
        test(&House::start(product, ""));
    }
}

/// The environment as scripts are given it.
pub fn borrow<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
