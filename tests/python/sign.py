"""Signs with the key of the token "card" by PyKCS11 and OpenSC, and verifies the signature."""

import PyKCS11
from PyKCS11 import CKA_CLASS, CKM_ECDSA, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, Mechanism

library = PyKCS11.PyKCS11Lib()
library.load("opensc-pkcs11.so")
for slot in library.getSlotList(tokenPresent=True):
    label = library.getTokenInfo(slot).label.strip()
    print(label)
    if label != "card":
        continue
    session = library.openSession(slot)
    session.login("123456")
    private = session.findObjects([(CKA_CLASS, CKO_PRIVATE_KEY)])[0]
    public = session.findObjects([(CKA_CLASS, CKO_PUBLIC_KEY)])[0]
    digest = bytes(range(32))
    signature = bytes(session.sign(private, digest, Mechanism(CKM_ECDSA, None)))
    print(len(signature), session.verify(public, digest, signature, Mechanism(CKM_ECDSA, None)))
    wrong = bytes([signature[0] ^ 1]) + signature[1:]
    print(session.verify(public, digest, wrong, Mechanism(CKM_ECDSA, None)))
