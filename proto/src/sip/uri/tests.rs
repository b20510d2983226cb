//! Goal: every part of a URI is found, and what is none is refused. Method: tables.

use super::*;

#[track_caller]
fn check(text: &str, user: Option<&str>, password: Option<&str>, host: &str, port: Option<u16>) {
    let uri = Uri::parse(text).unwrap();
    assert_eq!((uri.user, uri.password), (user, password), "{text}");
    assert_eq!((uri.host.as_str(), uri.port), (host, port), "{text}");
}

#[test]
fn user_password_host_and_port_are_found() {
    check("sip:h", None, None, "h", None);
    check(
        "sip:john.doe@example.com",
        Some("john.doe"),
        None,
        "example.com",
        None,
    );
    check(
        "SIPS:a:p.w@h:5061;lr",
        Some("a"),
        Some("p.w"),
        "h",
        Some(5061),
    );
    check(
        "sip:user;par=u%40x@h",
        Some("user;par=u%40x"),
        None,
        "h",
        None,
    );
    check(
        "sip:[2001:db8::10]:5070",
        None,
        None,
        "[2001:db8::10]",
        Some(5070),
    );
    check(
        "sip:[2001:db8::10:5070]",
        None,
        None,
        "[2001:db8::10:5070]",
        None,
    );
    check(
        "sip:u@[2001:db8:::192.0.2.1]",
        Some("u"),
        None,
        "[2001:db8:::192.0.2.1]",
        None,
    );
    check(
        "sip:1_u.~(to-be!)&i's+it$/c?,/;;*:&it=1@h",
        Some("1_u.~(to-be!)&i's+it$/c?,/;;*"),
        Some("&it=1"),
        "h",
        None,
    );
    check("tel:+1-201;phone-context=x", None, None, "", None);
}

#[test]
fn parameters_and_headers_are_found() {
    let uri = Uri::parse("sip:a@h;transport=tcp;lr;x=a,b=c?Subject=p%20q&To=sip:z").unwrap();
    assert_eq!(uri.param("TRANSPORT"), Some("tcp"));
    assert_eq!(
        (uri.param("lr"), uri.param("x"), uri.param("y")),
        (Some(""), Some("a,b=c"), None)
    );
    let headers: Vec<_> = uri.headers().collect();
    assert_eq!(headers, [("Subject", "p%20q"), ("To", "sip:z")]);
    let tel = Uri::parse("tel:+1201;phone-context=x").unwrap();
    assert_eq!(
        (tel.opaque(), tel.param("phone-context")),
        ("+1201", Some("x"))
    );
    assert_eq!(
        Uri::parse("urn:service:sos").unwrap().opaque(),
        "service:sos"
    );
    assert_eq!(
        Uri::parse("soap.beep://h").unwrap().scheme,
        Scheme::Other("soap.beep")
    );
    assert!(!Uri::parse("sip:h").unwrap().has_headers());
}

#[test]
fn what_is_no_uri_is_refused() {
    for bad in [
        "",
        "sip:",
        "sip",
        ":x",
        "<sip:a@h>",
        "sip:a@h; lr",
        "sip:a@",
        "sip:a@h:",
        "sip:a@h:65536",
        "sip:2001:db8::10",
        "sip:[::1",
        "sip:a@b@c",
        "sip:h\u{7f}",
        "1sip:h",
        "sip:a b@h",
    ] {
        assert!(Uri::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn escapes_are_resolved_once() {
    assert_eq!(
        unescape("sips%3Auser%40example.com"),
        "sips:user@example.com"
    );
    assert_eq!(unescape("v%61lue%25%34%31"), "value%41");
    assert_eq!(unescape("%Z%4"), "%Z%4");
    assert_eq!(unescape("null-%00-null"), "null-\0-null");
}

#[test]
fn hosts_compare_as_addresses_and_without_case() {
    let ip = |text| Host::new(text).ip();
    assert_eq!(ip("[2001:db8:::192.0.2.1]"), ip("[2001:db8::192.0.2.1]"));
    assert!(ip("[2001:db8:::192.0.2.1]").is_some());
    assert_eq!(Host::new("[2001:DB8::0:1]"), Host::new("[2001:db8::1]"));
    assert_eq!(Host::new("Example.COM"), Host::new("example.com"));
    assert_ne!(Host::new("example.com"), Host::new("192.0.2.1"));
}
