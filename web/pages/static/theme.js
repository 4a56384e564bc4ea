/**
 * Light or dark: as the system says, or as this person chose before. A classic script in the head, so that
 * the page is never painted in the other colours first.
 */
(() => {
  const KEY = "scoreboard.theme";
  const root = document.documentElement;
  const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; the system's colours do then
    }
  }

  function remember(theme) {
    try {
      localStorage.setItem(KEY, theme);
    } catch (error) {
      console.info("The choice of colours cannot be kept:", error.message);
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches;
  }

  function show() {
    root.classList.toggle("dark-mode", isDark()); // the name Swagger UI's own style sheet knows
    document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));
  }

  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  show();
  systemIsDark.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme")?.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      show();
    });
  });
})();
