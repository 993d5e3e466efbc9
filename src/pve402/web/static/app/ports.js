// Published ports as all pages show them.

export const NO_PORTS = "No port is published.";
export const portName = (port) => `Port ${port}`;

const ACCESS = { public: "for everybody", private: "for you, after a login" };

// What a port is called, and its address, as elements for a line of a list.
export function described({ port, access, url }) {
  const about = document.createElement("span");
  const address = document.createElement("code");
  address.textContent = url;
  about.append(`${portName(port)}, ${ACCESS[access]}: `, address);
  return about;
}
