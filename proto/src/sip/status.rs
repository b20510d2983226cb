//! Status codes and the reason phrases registered with IANA.
//!
//! Must not know: when a code is right. RFC 3261 21 and the registry "SIP Parameters".

/// The registered reason phrase of `code`; the one of its class if it has none of its own.
#[must_use]
pub const fn reason(code: u16) -> &'static str {
    match code {
        100..=199 => provisional(code),
        200..=299 => success(code),
        300..=399 => redirection(code),
        400..=499 => client_error(code),
        500..=599 => server_error(code),
        600..=699 => global_failure(code),
        _ => "Unknown",
    }
}

const fn provisional(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        _ => "Provisional",
    }
}

const fn success(code: u16) -> &'static str {
    match code {
        202 => "Accepted",
        204 => "No Notification",
        _ => "OK",
    }
}

const fn redirection(code: u16) -> &'static str {
    match code {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        _ => "Redirection",
    }
}

const fn client_error(code: u16) -> &'static str {
    match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        425 => "Bad Alert Message",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Certificate",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        _ => "Request Failure",
    }
}

const fn server_error(code: u16) -> &'static str {
    match code {
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        _ => "Server Failure",
    }
}

const fn global_failure(code: u16) -> &'static str {
    match code {
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn phrases_have_their_spaces_and_unknown_codes_their_class() {
        assert_eq!(reason(183), "Session Progress");
        assert_eq!(reason(481), "Call/Transaction Does Not Exist");
        assert_eq!(reason(499), "Request Failure");
        assert_eq!(reason(299), "OK");
        assert_eq!(reason(0), "Unknown");
    }
}
