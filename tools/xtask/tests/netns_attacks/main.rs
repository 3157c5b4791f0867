//! Attacks on a running pair, from the nodes that an attacker would have: each is refused where it arrives, counted there, and no
//! flow of anybody else notices. docs/failure-model.md, "Attacks", says which tests show what is not shown here.

mod claims;
mod outside;
mod scene;
