// Runs before anything else on the page: takes the ticket out of the address, so that neither the
// history, nor a reload, nor a copied address holds it. It is handed out once. A new link that is
// opened in the same tab only changes the part behind the `#`; its ticket goes to `onNewTicket`.
(() => {
  let ticket = "";

  function take() {
    ticket = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
  }

  take();
  addEventListener("hashchange", () => {
    take();
    globalThis.onNewTicket?.();
  });
  globalThis.takeTicket = () => {
    const taken = ticket;
    ticket = "";
    return taken;
  };
})();
