// Follows a long action: fetches its page each second until it has ended.
"use strict";

(() => {
  const follow = async () => {
    const now = document.getElementById("job");
    if (!now || now.dataset.state !== "running") return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("job");
      if (!next) { location.reload(); return; }
      const bar = now.querySelector("progress");
      const later = next.querySelector("progress");
      if (bar && later) {  // the link keeps its focus
        if (later.hasAttribute("value")) bar.value = later.value;
        now.querySelector("label").textContent = next.querySelector("label").textContent;
      } else {
        now.replaceWith(document.adoptNode(next));
      }
    } catch { /* the server does not answer: try again */ }
    setTimeout(follow, 1000);
  };
  setTimeout(follow, 300);
})();
