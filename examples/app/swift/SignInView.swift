// The number first, then WeChat, then the person. The way back (`onResp`) carries the scene of the ticket, which says
// which login this was about and opens nothing; the login is polled for anyway, so nothing depends on it.

import SwiftUI

struct SignInView: View {
    let login: MenshenLogin
    let signedIn: () -> Void

    @State private var ticket: Ticket?
    @State private var problem: String?
    @Environment(\.scenePhase) private var phase

    var body: some View {
        VStack(spacing: 24) {
            if let ticket {
                if let number = ticket.number {
                    Text("Remember this number: WeChat will ask for it.")
                    Text(String(number)).font(.system(size: 80, weight: .semibold)).monospacedDigit()
                }
                Button("Open WeChat") {
                    WXApi.send(ticket.request) { opened in
                        if !opened { problem = "WeChat is not installed." }
                    }
                }
                .buttonStyle(.borderedProminent)
            } else {
                Button("Sign in with WeChat", action: begin).buttonStyle(.borderedProminent)
            }
            if let problem { Text(problem).foregroundStyle(.red) }
        }
        .padding()
        // Started again by the system while WeChat was in front: the login goes on.
        .task { if login.isUnderWay { await finish() } }
    }

    private func begin() {
        problem = nil
        Task {
            do {
                ticket = try await login.begin()
                await finish()
            } catch {
                problem = error.localizedDescription
            }
        }
    }

    private func finish() async {
        do {
            try await login.finish()
            signedIn()
        } catch {
            ticket = nil
            problem = error.localizedDescription
        }
    }
}

// In the application's delegate: WeChat comes back by the Universal Link.
//
//   func application(_ app: UIApplication, continue activity: NSUserActivity, restorationHandler: …) -> Bool {
//       WXApi.handleOpenUniversalLink(activity, delegate: self)
//   }
//   func onResp(_ response: BaseResp) {}   // WXLaunchMiniProgramResp; `finish` is asking already
