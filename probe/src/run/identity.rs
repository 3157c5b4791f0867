//! Names of the servers that answered, each kept once.

use std::{collections::HashMap, rc::Rc};

/// Most names kept; a server that gives every answer another name must not fill the memory.
const MAX_SERVERS: usize = 4096;
/// Longest name kept, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Name under which servers beyond [`MAX_SERVERS`] are counted together.
const OTHERS: &str = "(others)";

/// A server's number within this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u32);

/// All names of a run.
#[derive(Default)]
pub struct Identities {
    names: Vec<Rc<str>>,
    by_name: HashMap<Rc<str>, ServerId>,
}

impl Identities {
    /// The number of the server called `name`.
    pub fn intern(&mut self, name: &str) -> ServerId {
        let mut end = name.len().min(MAX_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = &name[..end];
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        if self.names.len() >= MAX_SERVERS && name != OTHERS {
            return self.intern(OTHERS);
        }
        let id = ServerId(self.names.len() as u32);
        let name: Rc<str> = name.into();
        self.names.push(Rc::clone(&name));
        self.by_name.insert(name, id);
        id
    }

    /// The name of a server.
    pub fn name(&self, id: ServerId) -> Rc<str> {
        Rc::clone(&self.names[id.0 as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_and_the_names_are_bounded() {
        let mut identities = Identities::default();
        let web1 = identities.intern("web1/1/aa");
        let web2 = identities.intern("web2/1/bb");
        assert_ne!(web1, web2);
        assert_eq!(identities.intern("web1/1/aa"), web1);
        assert_eq!(&*identities.name(web2), "web2/1/bb");

        let long = "é".repeat(MAX_NAME_BYTES);
        let id = identities.intern(&long);
        assert!(identities.name(id).len() <= MAX_NAME_BYTES);

        for number in 0..MAX_SERVERS + 10 {
            identities.intern(&format!("server {number}"));
        }
        let late = identities.intern("one too many");
        assert_eq!(&*identities.name(late), OTHERS);
        assert!(identities.names.len() <= MAX_SERVERS + 1);
    }
}
