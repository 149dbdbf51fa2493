//! AES-256-GCM by the fastest implementation that the processor allows.
//!
//! Both give the same bytes. Knows no headers and no places: nonces are the caller's.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};

use super::crypt::{Broken, TAG};

/// A key, ready for use and wiped when dropped.
#[allow(clippy::large_enum_variant, reason = "a store has one of them")]
pub(super) enum Cipher {
    /// Written for the vector units of today's processors.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Vectors(graviola::aead::AesGcm),
    /// Runs anywhere.
    Portable(Aes256Gcm),
}

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self::vectors(key).unwrap_or_else(|| Self::portable(key))
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn vectors(key: &[u8; 32]) -> Option<Self> {
        let able = graviola::util::is_cpu_supported();
        able.then(|| Cipher::Vectors(graviola::aead::AesGcm::new(key)))
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn vectors(_: &[u8; 32]) -> Option<Self> {
        None
    }

    fn portable(key: &[u8; 32]) -> Self {
        Cipher::Portable(Aes256Gcm::new(key.into()))
    }

    /// Encrypts in place and returns the tag of `data` and of what is bound to it.
    pub(super) fn seal(&self, nonce: &[u8; 12], bound: &[u8], data: &mut [u8]) -> [u8; TAG] {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Vectors(cipher) => {
                let mut tag = [0; TAG];
                cipher.encrypt(nonce, bound, data, &mut tag);
                tag
            }
            Cipher::Portable(cipher) => cipher
                .encrypt_inout_detached(nonce.into(), bound, data.into())
                .expect("a block is far shorter than the cipher's limit")
                .into(),
        }
    }

    /// Verifies and decrypts in place. Broken data is left as it is or wiped.
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        bound: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Broken> {
        match self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Vectors(cipher) => cipher.decrypt(nonce, bound, data, tag).map_err(|_| Broken),
            Cipher::Portable(cipher) => cipher
                .decrypt_inout_detached(nonce.into(), bound, data.into(), tag.into())
                .map_err(|_| Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ciphers(key: &[u8; 32]) -> Vec<Cipher> {
        let portable = Cipher::portable(key);
        Cipher::vectors(key).into_iter().chain([portable]).collect()
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digits = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16);
        std::array::from_fn(|at| digits(at).expect("two digits"))
    }

    /// Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
    #[test]
    fn the_published_example_comes_out() {
        let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = bytes("cafebabefacedbaddecaf888");
        let bound: [u8; 20] = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain: [u8; 60] = bytes(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let sealed: [u8; 60] = bytes(concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        ));
        let tag: [u8; TAG] = bytes("76fc6ece0f4e1768cddf8853bb2d551b");
        for cipher in ciphers(&key) {
            let mut data = plain;
            assert_eq!(cipher.seal(&nonce, &bound, &mut data), tag);
            assert_eq!(data, sealed);
            assert_eq!(cipher.open(&nonce, &bound, &mut data, &tag), Ok(()));
            assert_eq!(data, plain);
        }
    }

    proptest! {
        #[test]
        fn all_implementations_agree(
            key: [u8; 32],
            nonce: [u8; 12],
            bound in proptest::collection::vec(any::<u8>(), 0..200),
            plain in proptest::collection::vec(any::<u8>(), 0..3000),
            broken: proptest::sample::Index,
        ) {
            let all = ciphers(&key);
            let mut results = Vec::new();
            for cipher in &all {
                let mut data = plain.clone();
                let tag = cipher.seal(&nonce, &bound, &mut data);
                results.push((data, tag));
            }
            for (sealed, tag) in &results {
                prop_assert_eq!((sealed, tag), (&results[0].0, &results[0].1));
                for cipher in &all {
                    let mut data = sealed.clone();
                    prop_assert_eq!(cipher.open(&nonce, &bound, &mut data, tag), Ok(()));
                    prop_assert_eq!(&data, &plain);
                    let mut wrong = [sealed.as_slice(), tag.as_slice()].concat();
                    let bit = broken.index(8 * wrong.len());
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let (data, tag) = wrong.split_at_mut(sealed.len());
                    let tag = (&*tag).try_into().expect("sixteen bytes");
                    prop_assert_eq!(cipher.open(&nonce, &bound, data, tag), Err(Broken));
                }
            }
        }
    }
}
