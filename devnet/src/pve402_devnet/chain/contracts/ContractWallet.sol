// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IContractSigner, SignatureCheck} from "./SignatureCheck.sol";

/// A wallet that is a contract: one owner key, EIP-1271 signatures, and calls made for the owner.
///
/// Two signature shapes are taken, since both are met in the wild: the owner's plain 65 bytes, and a
/// longer `abi.encode(ownerIndex, ownerSignature)` as wallets with several owners make them.
contract ContractWallet is IContractSigner {
    bytes4 private constant REFUSED = 0xffffffff;

    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {}

    function isValidSignature(bytes32 digest, bytes memory signature) external view returns (bytes4) {
        if (signature.length != 65) signature = _unwrap(signature);
        bool accepted = SignatureCheck.recover(digest, signature) == owner;
        return accepted ? IContractSigner.isValidSignature.selector : REFUSED;
    }

    function execute(address target, uint256 value, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "ContractWallet: caller is not the owner");
        (bool ok, bytes memory answer) = target.call{value: value}(data);
        require(ok, "ContractWallet: the call failed");
        return answer;
    }

    function _unwrap(bytes memory signature) private pure returns (bytes memory) {
        (uint256 ownerIndex, bytes memory ownerSignature) = abi.decode(signature, (uint256, bytes));
        require(ownerIndex == 0, "ContractWallet: no such owner");
        return ownerSignature;
    }
}

/// Deploys wallets at addresses that are known before they exist (CREATE2), as ERC-6492 needs.
contract ContractWalletFactory {
    event WalletCreated(address indexed wallet, address indexed owner);

    /// Safe to call twice: an existing wallet is returned as it is.
    function createWallet(address owner, bytes32 salt) external returns (address) {
        address predicted = walletAddress(owner, salt);
        if (predicted.code.length > 0) return predicted;
        address wallet = address(new ContractWallet{salt: salt}(owner));
        emit WalletCreated(wallet, owner);
        return wallet;
    }

    function walletAddress(address owner, bytes32 salt) public view returns (address) {
        bytes32 codeHash = keccak256(abi.encodePacked(type(ContractWallet).creationCode, abi.encode(owner)));
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(this), salt, codeHash));
        return address(uint160(uint256(hash)));
    }
}
