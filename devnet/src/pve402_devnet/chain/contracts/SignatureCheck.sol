// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

interface IContractSigner {
    function isValidSignature(bytes32 digest, bytes memory signature) external view returns (bytes4);
}

/// Says whether an account signed a digest: ECDSA for plain accounts, EIP-1271 for accounts with code.
library SignatureCheck {
    /// Half the order of secp256k1. A larger s is the malleable twin of a valid signature (EIP-2).
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    function isValid(address signer, bytes32 digest, bytes memory signature) internal view returns (bool) {
        if (signer.code.length > 0) return _contractAccepts(signer, digest, signature);
        return signer != address(0) && recover(digest, signature) == signer;
    }

    /// Reverts for a signature that no key can have made, as the token of base does.
    function recover(bytes32 digest, bytes memory signature) internal pure returns (address) {
        require(signature.length == 65, "ECRecover: invalid signature length");
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
        require(uint256(s) <= HALF_ORDER, "ECRecover: invalid signature 's' value");
        require(v == 27 || v == 28, "ECRecover: invalid signature 'v' value");
        address signer = ecrecover(digest, v, r, s);
        require(signer != address(0), "ECRecover: invalid signature");
        return signer;
    }

    function _contractAccepts(address signer, bytes32 digest, bytes memory signature) private view returns (bool) {
        (bool ok, bytes memory answer) =
            signer.staticcall(abi.encodeCall(IContractSigner.isValidSignature, (digest, signature)));
        if (!ok || answer.length < 32) return false;
        return abi.decode(answer, (bytes32)) == bytes32(IContractSigner.isValidSignature.selector);
    }
}
