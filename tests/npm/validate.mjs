// Judges x402 extensions with the official TypeScript package.
//
// usage: node validate.mjs < DECLARATIONS     (a JSON list of objects of extensions by name)
// Prints a JSON list: for each of them the list of what is wrong.

import { buffer } from "node:stream/consumers";
import { validateDiscoveryExtension, validateDiscoveryExtensionSpec } from "@x402/extensions/bazaar";
import { isPaymentIdentifierExtension } from "@x402/extensions/payment-identifier";

function problems(extensions) {
  const found = [];
  for (const judge of [validateDiscoveryExtension, validateDiscoveryExtensionSpec]) {
    const said = judge(extensions.bazaar);
    if (!said.valid) found.push(...(said.errors ?? ["invalid"]));
  }
  const identifier = extensions["payment-identifier"];
  if (identifier !== undefined && !isPaymentIdentifierExtension(identifier)) {
    found.push("payment-identifier");
  }
  return found;
}

console.log(JSON.stringify(JSON.parse(await buffer(process.stdin)).map(problems)));
