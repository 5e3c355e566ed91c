//! List: a linked list over values in a slab, with the links stored in the values.
//!
//! First and last in O(1), removal anywhere in O(1); never allocates.

use crate::slab::{Id, Slab};

/// A value that can be in its list number `N`.
pub(crate) trait Linked<const N: usize>: Sized {
    fn links(&mut self) -> &mut Links<Self>;

    fn linked(&self) -> &Links<Self>;
}

/// A value's neighbours in one list.
pub(crate) struct Links<T> {
    prev: Option<Id<T>>,
    next: Option<Id<T>>,
}

pub(crate) struct List<T, const N: usize> {
    first: Option<Id<T>>,
    last: Option<Id<T>>,
    len: usize,
}

impl<T: Linked<N>, const N: usize> List<T, N> {
    pub(crate) fn push_back(&mut self, values: &mut Slab<T>, id: Id<T>) {
        *values[id].links() = Links {
            prev: self.last,
            next: None,
        };
        match self.last {
            Some(last) => values[last].links().next = Some(id),
            None => self.first = Some(id),
        }
        self.last = Some(id);
        self.len += 1;
    }

    /// Inserts a value before the first one that `is_after` it, or at the end.
    pub(crate) fn insert_before(
        &mut self,
        values: &mut Slab<T>,
        id: Id<T>,
        is_after: impl Fn(&T) -> bool,
    ) {
        let Some(next) = self.ids(values).find(|other| is_after(&values[*other])) else {
            return self.push_back(values, id);
        };
        let prev = values[next].links().prev.replace(id);
        *values[id].links() = Links {
            prev,
            next: Some(next),
        };
        match prev {
            Some(prev) => values[prev].links().next = Some(id),
            None => self.first = Some(id),
        }
        self.len += 1;
    }

    /// All, from first to last.
    pub(crate) fn ids<'a>(
        &self,
        values: &'a Slab<T>,
    ) -> impl Iterator<Item = Id<T>> + use<'a, T, N> {
        std::iter::successors(self.first, |id| values[*id].linked().next)
    }

    /// The previous value in the list.
    pub(crate) fn before(&self, values: &Slab<T>, id: Id<T>) -> Option<Id<T>> {
        values[id].linked().prev
    }

    /// Removes a value from this list; the value stays in the slab.
    pub(crate) fn remove(&mut self, values: &mut Slab<T>, id: Id<T>) {
        let Links { prev, next } = std::mem::take(values[id].links());
        match prev {
            Some(prev) => values[prev].links().next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => values[next].links().prev = prev,
            None => self.last = prev,
        }
        self.len -= 1;
    }
}

impl<T, const N: usize> List<T, N> {
    pub(crate) fn first(&self) -> Option<Id<T>> {
        self.first
    }

    pub(crate) fn last(&self) -> Option<Id<T>> {
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self {
            first: None,
            last: None,
            len: 0,
        }
    }
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self {
            prev: None,
            next: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node(u8, Links<Self>);

    impl Linked<0> for Node {
        fn links(&mut self) -> &mut Links<Self> {
            &mut self.1
        }

        fn linked(&self) -> &Links<Self> {
            &self.1
        }
    }

    fn order(list: &List<Node, 0>, nodes: &Slab<Node>) -> Vec<u8> {
        list.ids(nodes).map(|id| nodes[id].0).collect()
    }

    #[test]
    fn values_leave_from_the_front_the_middle_and_the_back() {
        let (mut nodes, mut list) = (Slab::new(), List::default());
        let ids: Vec<_> = (0..5)
            .map(|n| nodes.insert(Node(n, Links::default())))
            .collect();
        ids.iter().for_each(|id| list.push_back(&mut nodes, *id));
        list.remove(&mut nodes, ids[2]);
        assert_eq!(order(&list, &nodes), [0, 1, 3, 4]);
        list.remove(&mut nodes, ids[0]);
        list.remove(&mut nodes, ids[4]);
        assert_eq!(order(&list, &nodes), [1, 3]);
        list.remove(&mut nodes, ids[1]);
        list.remove(&mut nodes, ids[3]);
        assert!(list.is_empty() && list.first().is_none() && list.last().is_none());
        list.push_back(&mut nodes, ids[2]);
        assert_eq!(order(&list, &nodes), [2]);
        for n in [4, 1, 3] {
            list.insert_before(&mut nodes, ids[usize::from(n)], |other| other.0 > n);
        }
        assert_eq!(order(&list, &nodes), [1, 2, 3, 4]);
        list.remove(&mut nodes, ids[3]);
        assert_eq!(order(&list, &nodes), [1, 2, 4]);
    }
}
