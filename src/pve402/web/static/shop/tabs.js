// Opens a link that is asked for first. The tab is opened at once, while the browser still knows
// that somebody clicked.

export async function openTab(asked) {
  const tab = open("", "_blank");
  try {
    const url = await asked();
    if (!/^https?:\/\//.test(url)) throw new Error("not an address of a page");
    if (!tab) return location.assign(url);
    tab.opener = null;
    tab.location.replace(url);
  } catch (error) {
    tab?.close();
    throw error;
  }
}
