//! The fields of records: numbers of variable length, fixed numbers, bytes with their length.
//!
//! Nothing that is read is trusted: a number that is too long or a length beyond the end is an error.

/// A field that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadField;

/// Appends a number, seven bits a byte, the lowest first; the high bit says that more follow.
#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number with a sign: small ones of both signs are short.
#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends bytes and, before them, how many.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads fields one behind the other; what it gives out borrows from the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, BadField> {
        let (first, rest) = self.0.split_first().ok_or(BadField)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, BadField> {
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, BadField> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return Err(BadField);
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(BadField)
    }

    #[inline]
    pub(super) fn number_32(&mut self) -> Result<u32, BadField> {
        u32::try_from(self.number()?).map_err(|_| BadField)
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, BadField> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], BadField> {
        let len = self.number()?;
        self.take(len)
    }

    #[inline]
    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], BadField> {
        let len = usize::try_from(len).map_err(|_| BadField)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadField)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_come_back(number: u64, shift in 0..64u32, signed: i64, bytes: Vec<u8>) {
            let (number, signed) = (number >> shift, signed >> shift);
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut fields = Fields(&out);
            prop_assert_eq!(fields.number(), Ok(number));
            prop_assert_eq!(fields.signed(), Ok(signed));
            prop_assert_eq!(fields.bytes(), Ok(&bytes[..]));
            prop_assert!(fields.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut fields = Fields(&bytes);
            while fields.number().is_ok() && fields.bytes().is_ok() {}
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(Fields(&bytes).number(), Ok(u64::MAX));
        bytes[9] = 2;
        assert_eq!(Fields(&bytes).number(), Err(BadField));
        assert_eq!(Fields(&[0xff; 11]).number(), Err(BadField));
        assert_eq!(Fields(&[0x80]).number(), Err(BadField));
    }
}
