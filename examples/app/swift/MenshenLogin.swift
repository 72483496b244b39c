// Signs in to Menshen by opening its mini program in WeChat, for iOS.
//
// The application asks for a ticket, shows its number, has WeChat open the mini program, and polls until the person has
// confirmed there. It gets an access token for one hour and a refresh token that works once. No code and no token of
// WeChat's ever passes through the application; its own secret is the PKCE verifier (RFC 7636), which never leaves it.
//
// Needs: iOS 15, WeChat's OpenSDK (WXApi) in the bridging header, a Universal Link that is registered with WeChat.

import CryptoKit
import Foundation
import Security

/// A refusal with one of the gateway's stable codes (docs/http-api.md). Show the message; act on the code.
struct Refused: LocalizedError {
    let code: String
    let message: String
    var errorDescription: String? { message }
}

/// What to show before WeChat opens, and what to give it.
struct Ticket {
    let number: Int?
    fileprivate let launch: Launch

    /// The request for WeChat's OpenSDK. `userName` is the mini program's original id (gh_…), not its AppID.
    var request: WXLaunchMiniProgramReq {
        let request = WXLaunchMiniProgramReq.object()
        request.userName = launch.user_name
        request.path = launch.path
        request.miniProgramType = WXMiniProgramType(rawValue: launch.type) ?? .release
        return request
    }
}

actor MenshenLogin {
    private let site: URL
    private let connection: String
    private var access: (token: String, ends: Date)?
    private var refreshing: Task<String?, Error>?
    private var finishing: Task<Void, Error>?

    /// - Parameters:
    ///   - site: origin of the site, for example https://stock.example.com; the tokens are for this site alone
    ///   - connection: id of the `miniprogram-launch` connection
    init(site: URL, connection: String) {
        self.site = site
        self.connection = connection
    }

    /// Step 1. Afterwards show `number` in large type, then call `WXApi.send(ticket.request)` on a tap.
    func begin() async throws -> Ticket {
        var random = Data(count: 32)
        let status = random.withUnsafeMutableBytes { SecRandomCopyBytes(kSecRandomDefault, 32, $0.baseAddress!) }
        guard status == errSecSuccess else { throw Refused(code: "no_randomness", message: "") }
        let verifier = base64url(random)
        let challenge = base64url(Data(SHA256.hash(data: Data(verifier.utf8))))
        let (code, body, _) = try await post(
            "tickets",
            ["connection": connection, "code_challenge": challenge, "code_challenge_method": "S256"])
        guard code == 201 else { throw refusal(body) }
        let created = try JSONDecoder().decode(Created.self, from: body)
        // Kept, because iOS may end this application while WeChat is in front.
        Safe.set("ticket", created.id)
        Safe.set("verifier", verifier)
        return Ticket(number: created.number, launch: created.launch)
    }

    /// Whether a login is under way, for example after the application was started again.
    nonisolated var isUnderWay: Bool { Safe.get("ticket") != nil }

    /// Step 2. Returns when the person has confirmed, throws `Refused` when that will not happen any more. Call it when
    /// WeChat was opened, and again when the application becomes active if it was ended meanwhile: it asks at once.
    func finish() async throws {
        // Tokens come once: whoever asks beside another waits for the same answer.
        if let finishing { return try await finishing.value }
        let task = Task { try await poll() }
        finishing = task
        defer { finishing = nil }
        try await task.value
    }

    private func poll() async throws {
        guard let ticket = Safe.get("ticket"), let verifier = Safe.get("verifier") else {
            throw Refused(code: "ticket_unknown", message: "no login is under way")
        }
        var seen = "pending"
        var failures = 0
        while true {
            try Task.checkCancellation()
            // iOS cuts the connections of what it puts to sleep. That says nothing about the login.
            let (code, body, wait) =
                (try? await post("tickets/\(ticket)/redeem?wait=20&seen=\(seen)", ["code_verifier": verifier]))
                ?? (503, Data(), 0)
            switch code {
            case 202:
                failures = 0
                seen = try JSONDecoder().decode(Status.self, from: body).status
            case 200:
                forgetTicket()
                return try keep(body)
            case 429, 500...:
                let pause = max(wait, pow(2, Double(min(failures, 4))) + .random(in: 0...0.5))
                failures += 1
                try await Task.sleep(nanoseconds: UInt64(pause * 1e9))
            default:
                forgetTicket()
                throw refusal(body)
            }
        }
    }

    /// A token for `Authorization: Bearer`; nil when somebody has to sign in.
    func token() async throws -> String? {
        if let access, Date() < access.ends { return access.token }
        // One call at a time: a refresh token that comes twice ends the whole session (RFC 9700 §4.14.2).
        if let refreshing { return try await refreshing.value }
        let task = Task { try await refresh() }
        refreshing = task
        defer { refreshing = nil }
        return try await task.value
    }

    private func refresh() async throws -> String? {
        guard let refresh = Safe.get("refresh") else { return nil }
        let (code, body, _) = try await post("token", ["refresh_token": refresh])
        switch code {
        case 200:
            try keep(body)
        case 401:
            Safe.set("refresh", nil)
            access = nil
        default:
            throw refusal(body)
        }
        return access?.token
    }

    private func keep(_ body: Data) throws {
        let tokens = try JSONDecoder().decode(Tokens.self, from: body)
        // First the one that works once: an application that ends here must not come back with the old one.
        Safe.set("refresh", tokens.refresh_token)
        access = (tokens.access_token, Date(timeIntervalSinceNow: TimeInterval(tokens.expires_in - 60)))
    }

    private func forgetTicket() {
        Safe.set("ticket", nil)
        Safe.set("verifier", nil)
    }

    /// Status, body, and the seconds of `Retry-After`.
    private func post(_ path: String, _ fields: [String: String]) async throws -> (Int, Data, Double) {
        guard let url = URL(string: "/.menshen/app/\(path)", relativeTo: site) else {
            throw Refused(code: "bad_request", message: path)
        }
        var request = URLRequest(url: url, cachePolicy: .reloadIgnoringLocalCacheData, timeoutInterval: 30)
        request.httpMethod = "POST"
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.httpBody = try JSONEncoder().encode(fields)
        let (body, response) = try await URLSession.shared.data(for: request)
        guard let response = response as? HTTPURLResponse else { return (503, body, 0) }
        let wait = response.value(forHTTPHeaderField: "Retry-After").flatMap(Double.init) ?? 0
        return (response.statusCode, body, min(max(wait, 0), 60))
    }

    private func refusal(_ body: Data) -> Refused {
        let error = try? JSONDecoder().decode(Problem.self, from: body).error
        return Refused(code: error?.code ?? "unknown", message: error?.message ?? "")
    }

    private func base64url(_ data: Data) -> String {
        data.base64EncodedString()
            .replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }
}

/// Small secrets in the keychain: of this device only, in no backup, readable after the first unlock.
enum Safe {
    private static func query(_ name: String) -> [CFString: Any] {
        [kSecClass: kSecClassGenericPassword, kSecAttrService: "menshen", kSecAttrAccount: name]
    }

    static func get(_ name: String) -> String? {
        var found: CFTypeRef?
        var query = query(name)
        query[kSecReturnData] = true
        guard SecItemCopyMatching(query as CFDictionary, &found) == errSecSuccess else { return nil }
        return (found as? Data).flatMap { String(data: $0, encoding: .utf8) }
    }

    static func set(_ name: String, _ value: String?) {
        SecItemDelete(query(name) as CFDictionary)
        guard let value else { return }
        var item = query(name)
        item[kSecValueData] = Data(value.utf8)
        item[kSecAttrAccessible] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        SecItemAdd(item as CFDictionary, nil)
    }
}

fileprivate struct Launch: Decodable {
    let user_name: String
    let path: String
    let type: UInt
}

private struct Created: Decodable {
    let id: String
    let number: Int?
    let launch: Launch
}

private struct Status: Decodable {
    let status: String
}

private struct Tokens: Decodable {
    let access_token: String
    let refresh_token: String
    let expires_in: Int
}

private struct Problem: Decodable {
    struct Detail: Decodable {
        let code: String
        let message: String
    }
    let error: Detail
}
