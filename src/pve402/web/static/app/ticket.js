// Runs before anything else on the page: takes the ticket out of the address, so that neither the
// history, nor a reload, nor a copied address holds it. It is handed out once.
(() => {
  let ticket = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  globalThis.takeTicket = () => {
    const taken = ticket;
    ticket = "";
    return taken;
  };
})();
