// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IContractSigner, SignatureCheck} from "./SignatureCheck.sol";

/// A wallet that is legal and hard to be paid by, for tests of whoever takes payments.
///
/// EIP-1271 says nothing about when a contract stands by a signature, so it may say yes to a
/// question and no in the transaction that the question was about. Every setting is in the code, so
/// that an account which delegates to this contract (EIP-7702) behaves in the same manner.
contract AwkwardWallet is IContractSigner {
    /// What isValidSignature does with a signature of the owner; `limit` is explained with each.
    enum Manner {
        Honest, // yes
        WantsGas, // yes with at least `limit` gas left, as only a question has
        OnlyToNobody, // yes when nobody (the zero address) asks, as a question does unless told
        OnlyUnpaid, // yes while the gas price is zero, as in a question
        BeforeBlock, // yes in blocks below `limit`
        BeforeTime, // yes before the second `limit` of chain time
        BurnsGas, // yes, after burning `limit` gas
        Loops, // never answers
        Floods, // `limit` bytes of zeros instead of an answer
        Reverts // fails without a reason
    }

    bytes4 private constant REFUSED = 0xffffffff;

    address public immutable owner;
    Manner public immutable manner;
    uint256 public immutable limit;
    bool public turned;

    constructor(address owner_, Manner manner_, uint256 limit_) {
        owner = owner_;
        manner = manner_;
        limit = limit_;
    }

    /// From now on no signature counts: what was true when it was asked is not true any more.
    function turn() external {
        require(msg.sender == owner, "AwkwardWallet: caller is not the owner");
        turned = true;
    }

    function isValidSignature(bytes32 digest, bytes memory signature) external view returns (bytes4) {
        bool accepted = !turned && _stands() && SignatureCheck.recover(digest, signature) == owner;
        return accepted ? IContractSigner.isValidSignature.selector : REFUSED;
    }

    function _stands() private view returns (bool) {
        if (manner == Manner.WantsGas) return gasleft() >= limit;
        if (manner == Manner.OnlyToNobody) return tx.origin == address(0);
        if (manner == Manner.OnlyUnpaid) return tx.gasprice == 0;
        if (manner == Manner.BeforeBlock) return block.number < limit;
        if (manner == Manner.BeforeTime) return block.timestamp < limit;
        if (manner == Manner.BurnsGas) _burn(limit);
        if (manner == Manner.Loops) _burn(type(uint256).max);
        if (manner == Manner.Floods) _flood(limit);
        require(manner != Manner.Reverts);
        return true;
    }

    function _burn(uint256 amount) private view {
        uint256 start = gasleft();
        while (start - gasleft() < amount) {}
    }

    function _flood(uint256 size) private pure {
        assembly ("memory-safe") {
            return(0, size)
        }
    }
}

/// Deploys awkward wallets; the same settings and salt give the same wallet.
contract AwkwardWalletFactory {
    function createWallet(address owner, AwkwardWallet.Manner manner, uint256 limit, bytes32 salt)
        external
        returns (address)
    {
        address predicted = walletAddress(owner, manner, limit, salt);
        if (predicted.code.length > 0) return predicted;
        return address(new AwkwardWallet{salt: salt}(owner, manner, limit));
    }

    function walletAddress(address owner, AwkwardWallet.Manner manner, uint256 limit, bytes32 salt)
        public
        view
        returns (address)
    {
        bytes memory settings = abi.encode(owner, manner, limit);
        bytes32 codeHash = keccak256(abi.encodePacked(type(AwkwardWallet).creationCode, settings));
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(this), salt, codeHash));
        return address(uint160(uint256(hash)));
    }
}
