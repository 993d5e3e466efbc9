// Makes a lease with openapi-fetch and the types that openapi-typescript generated.
// usage: node lease.js URL [PAYMENT]

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };

const [, , url, payment] = process.argv;
if (url === undefined) throw new Error("URL is missing");
const client = createClient<paths>({ baseUrl: url });

const catalogue = await client.GET("/catalogue");
const sku = catalogue.data?.skus[0]?.sku;
if (sku === undefined) throw new Error("nothing is on sale");
const body: components["schemas"]["LeaseRequest"] = {
  sku,
  runtimeMinutes: 5,
  hostname: "generated",
  password: "a-good-password",
};
const { data, response } = await client.POST("/lease/container", {
  params: { header: payment === undefined ? {} : { "PAYMENT-SIGNATURE": payment } },
  body,
});
const said = {
  status: response.status,
  terms: response.headers.get("PAYMENT-REQUIRED"),
  leaseId: data?.leaseId,
  leaseStatus: data?.status,
};
console.log(JSON.stringify(said));
