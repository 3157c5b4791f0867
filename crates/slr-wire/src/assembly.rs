//! Parts joined into the whole.

use thiserror::Error;

/// Joins the parts of one kind of message from the stream, where they arrive in order. A part 0 begins anew: the sender
/// has something newer to say before it finished.
#[derive(Clone, Debug)]
pub struct Assembly<Id, Item> {
    begun: Option<Begun<Id>>,
    items: Vec<Item>,
    items_max: usize,
}

#[derive(Clone, Debug)]
struct Begun<Id> {
    id: Id,
    parts: u16,
    next: u16,
}

/// Parts that make no whole: the sender does not keep to the format.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AssemblyError {
    /// A part that does not continue what came before.
    #[error("part {part} of {parts} does not continue what came before")]
    OutOfOrder {
        /// The part that came.
        part: u16,
        /// Of how many.
        parts: u16,
    },
    /// The whole exceeds its bound.
    #[error("more than {max} entries in all parts together")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

impl<Id: PartialEq, Item> Assembly<Id, Item> {
    /// Joins at most so many items.
    pub const fn new(items_max: usize) -> Self {
        Self { begun: None, items: Vec::new(), items_max }
    }

    /// Takes a part; the last one returns the id and the items of all of them.
    pub fn push(
        &mut self,
        id: Id,
        part: u16,
        parts: u16,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Option<(Id, Vec<Item>)>, AssemblyError> {
        if part == 0 {
            self.items.clear();
            self.begun = Some(Begun { id, parts, next: 1 });
        } else {
            match &mut self.begun {
                Some(begun) if begun.id == id && begun.parts == parts && begun.next == part => begun.next += 1,
                _ => return Err(self.fail(AssemblyError::OutOfOrder { part, parts })),
            }
        }
        for item in items {
            if self.items.len() == self.items_max {
                return Err(self.fail(AssemblyError::TooMany { max: self.items_max }));
            }
            self.items.push(item);
        }
        match self.begun.take_if(|begun| begun.next == begun.parts) {
            Some(begun) => Ok(Some((begun.id, std::mem::take(&mut self.items)))),
            None => Ok(None),
        }
    }

    fn fail(&mut self, error: AssemblyError) -> AssemblyError {
        self.begun = None;
        self.items = Vec::new();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_order_make_the_whole() {
        let mut assembly = Assembly::new(4);
        assert_eq!(assembly.push(7, 0, 1, [1]), Ok(Some((7, vec![1]))));
        assert_eq!(assembly.push(8, 0, 3, [1, 2]), Ok(None));
        assert_eq!(assembly.push(8, 1, 3, []), Ok(None));
        assert_eq!(assembly.push(8, 2, 3, [3]), Ok(Some((8, vec![1, 2, 3]))));
    }

    #[test]
    fn a_first_part_begins_anew() {
        let mut assembly = Assembly::new(4);
        assert_eq!(assembly.push(1, 0, 2, [1]), Ok(None));
        assert_eq!(assembly.push(2, 0, 2, [5]), Ok(None));
        assert_eq!(assembly.push(2, 1, 2, [6]), Ok(Some((2, vec![5, 6]))));
    }

    #[test]
    fn what_makes_no_whole_is_refused() {
        let stray = |part, parts| Err(AssemblyError::OutOfOrder { part, parts });
        let mut assembly = Assembly::new(2);
        assert_eq!(assembly.push(1, 1, 2, [1]), stray(1, 2));
        assert_eq!(assembly.push(1, 0, 3, [1]), Ok(None));
        assert_eq!(assembly.push(2, 1, 3, [1]), stray(1, 3));
        assert_eq!(assembly.push(1, 1, 3, [1]), stray(1, 3));
        assert_eq!(assembly.push(1, 0, 1, [1, 2, 3]), Err(AssemblyError::TooMany { max: 2 }));
    }
}
