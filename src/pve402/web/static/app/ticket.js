// Runs before anything else on the page: removes the ticket from the address, so that the history,
// a reload or a copied address does not contain it. The ticket is handed out once. Opening a new
// link in the same tab only changes the part after the `#`; its ticket goes to `onNewTicket`.
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
