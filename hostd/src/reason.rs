//! Why a service is not active, in words that fit an advert.

use slr_model::ServiceAdvert;

/// At most as long as an advert carries.
pub fn cut(mut text: String) -> String {
    let mut end = text.len().min(ServiceAdvert::REASON_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
