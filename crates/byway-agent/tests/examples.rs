//! The examples run: each is a module here, so that they need one build and no processes.
#![allow(
    clippy::duplicate_mod,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each has a `main` of its own, which is not used here"
)]

macro_rules! examples {
    ($($name:ident at $path:literal;)*) => {
        $(
            #[path = $path]
            mod $name;
        )*

        mod runs {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name::run().await.expect("the example runs");
                }
            )*
        }
    };
}

examples! {
    first_get at "../examples/first_get.rs";
    limits_and_queue at "../examples/limits_and_queue.rs";
    live_stats at "../examples/live_stats.rs";
    one_address at "../examples/one_address.rs";
    regrouping at "../examples/regrouping.rs";
    through_socks5 at "../examples/through_socks5.rs";
    unix_socket at "../examples/unix_socket.rs";
    upgrade at "../examples/upgrade.rs";
}
