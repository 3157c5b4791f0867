//! The URIs of a certificate, one a line: what is read as an identity is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slr_model::Identity;

fuzz_target!(|text: &str| {
    match Identity::from_uris(text.lines()) {
        Ok(identity) => {
            let uris = identity.uris();
            let again = Identity::from_uris(uris.iter().map(String::as_str));
            assert_eq!(again.as_ref(), Ok(&identity), "{uris:?}");
        }
        // It goes into logs on both sides.
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
});
